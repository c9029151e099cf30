"""The classification flow: from a file of labelled texts to a registered model."""

from prefect import flow

from components.reporting.classification import evidence, findings, headline_rows
from components.reporting.evidence import counted
from components.tasks import download, evaluate, fetch_weights, fine_tune, read_frozen, reads_ahead, split, validate
from components.tasks.results import Results
from components.tracking.registry.publishing import publish_classifier
from pipelines.kinds.classification import DECIDES
from pipelines.kinds.classification.config import ClassificationConfig
from pipelines.prefect_runs import record_process
from pipelines.run import RunSummary, recorded

RESULTS = Results(counted, findings, evidence, publish_classifier, headline_rows, decides=DECIDES)


@flow(name="classification", flow_run_name="{config.run_name}", persist_result=False, on_running=[record_process])
def classification(config: ClassificationConfig) -> RunSummary:
    """Download, validate, split, fine-tune, evaluate, log and register, as one MLflow run."""
    model, train = config.model, config.train
    with recorded(config) as run:
        source = run.step(download, config.source)
        table = run.step(validate, source, config.validation)
        splits = run.step(split, table, config.split, config.balance)
        weights = run.step(fetch_weights, model)
        compared = config.evaluation.encoder  # fetched before hours of training
        encoder = fetch_weights(compared) if compared else None
        frozen = run.step(read_frozen, splits, weights, model, train) if reads_ahead(model, train) else None
        trained = run.step(fine_tune, splits, weights, model, train, config.lora, run.id, frozen)
        cost = config.evaluation.miss_cost
        run.step(evaluate, splits, trained, frozen, weights, run.names, encoder, cost)
        run.finish(RESULTS)
    return run.summary()


FLOW = classification
