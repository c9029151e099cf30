"""The classification flow: from a file of labelled texts to a registered model."""

from prefect import flow

from components.core.errors import DataRejected, TrainingError
from components.core.home import home
from components.core.records import Manifest
from components.core.steps import run_logger
from components.tasks import (
    download,
    evaluate,
    fetch_weights,
    fine_tune,
    log_results,
    read_frozen,
    reads_ahead,
    register,
    report_failed_training,
    report_validation,
    split,
    validate,
)
from components.tracking.registry.lineage import log_lineage
from components.tracking.runs import Run, open_run
from pipelines.kinds.classification.config import ClassificationConfig
from pipelines.prefect_runs import record_process
from pipelines.summary import RunSummary, say_warnings, say_what_was_cached


@flow(name="classification", flow_run_name="{config.name}", persist_result=False, on_running=[record_process])
def classification(config: ClassificationConfig) -> RunSummary:
    """Download, validate, split, fine-tune, evaluate, log and register, as one MLflow run."""
    tracking = config.tracking
    with open_run(tracking, home(), config.name, config.model_dump(mode="json"), {"gradus.preset": config.name}) as run:
        log_lineage(run, config.model.weights, home())
        steps = {"download": download(config.source)}
        steps["validate"] = _validate(run, steps["download"], config)
        steps["split"] = split(steps["validate"], config.split, config.balance)
        say_warnings(steps["split"])
        steps["fetch_weights"] = fetch_weights(config.model)
        if reads_ahead(config.model, config.train):
            steps["read_frozen"] = read_frozen(steps["split"], steps["fetch_weights"], config.model, config.train)
        steps["fine_tune"] = _fine_tune(run, steps["split"], steps["fetch_weights"], steps.get("read_frozen"), config)
        steps["evaluate"] = evaluate(
            steps["split"], steps["fine_tune"], steps.get("read_frozen"), steps["fetch_weights"]
        )
        run_logger().info(steps["evaluate"].facts["verdict"])
        log_results(run.run_id, steps)
        model = register(run.run_id, steps, tracking.model_name)
        say_what_was_cached(run, steps, model["cached_from"])
    return RunSummary.of(run, steps)


FLOW = classification


def _validate(run: Run, source: Manifest, config: ClassificationConfig) -> Manifest:
    """Validate, and leave the report where people look, all the more if the data was rejected."""
    try:
        table = validate(source, config.validation)
    except DataRejected as error:
        if error.evidence:
            report_validation(run.run_id, error.evidence)
        raise
    report_validation(run.run_id, table.folder)
    return table


def _fine_tune(
    run: Run, splits: Manifest, weights: Manifest, frozen: Manifest | None, config: ClassificationConfig
) -> Manifest:
    """Fine-tune, and leave the rows of the step that failed where people look."""
    try:
        return fine_tune(splits, weights, config.model, config.train, config.lora, run.run_id, frozen)
    except TrainingError as error:
        if error.evidence:
            report_failed_training(run.run_id, error.evidence)
        raise
