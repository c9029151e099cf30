"""The catalogue: every block as a Prefect task, its timeout, retries and caching side by side.

    from components.tasks import download, validate, split

Steps return a `Manifest` and are cached by content (`components.steps`); the tasks at the end write to MLflow
and are not. Retries stand only where a network is involved: a failed training is not run again by itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import Task, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from components.data.balancing import BalanceConfig
from components.data.rules import ValidationConfig
from components.data.sources import SourceConfig
from components.data.splitting import SPLITS, SplitConfig
from components.errors import TransientError
from components.home import home, mirror
from components.model.config import LoraConfig, ModelConfig
from components.records import Facts, Manifest, NoLogger
from components.steps import identify, run_logger, step
from components.store import CHECKPOINT
from components.training.config import TrainConfig

MINUTE = 60
HOUR = 60 * MINUTE
TRACKED = ("runs:/", "models:/")
"""How the address of an earlier run's model begins."""


def may_pass(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Say whether a failure is of a kind that may be gone a little later."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


def _source_identity(arguments: Mapping[str, Any]) -> Any:
    from components.data.download import source_identity

    return source_identity(arguments["source"], mirror())


def _weights_identity(arguments: Mapping[str, Any]) -> Any:
    from components.model.starting_weights import weights_identity
    from components.tracking.registry import resolve_model

    weights = arguments["model"].weights
    # An alias may point elsewhere tomorrow; the place it points to now does not change.
    return resolve_model(weights, home()) if weights.startswith(TRACKED) else weights_identity(weights, mirror())


@step(
    "components.data.download",
    identity=_source_identity,
    timeout_seconds=6 * HOUR,
    retries=1,
    retry_delay_seconds=5,
    retry_condition_fn=may_pass,
)
def download(out: Path, source: SourceConfig) -> Facts:
    """Fetch, unpack and read a source: `raw/<name>` and `table.parquet` (row, text, label)."""
    from components.data.download import download as block

    return block(source, home() / "downloads", mirror(), out)


@step("components.data.validation", timeout_seconds=HOUR)
def validate(out: Path, source: Manifest, rules: ValidationConfig) -> Facts:
    """Check a table with Great Expectations: `table.parquet` (what is used), `rejected.parquet`, `report.json/.html`.

    Raises `DataRejected` where an expectation of severity `error` is not met.
    """
    from components.data.validation import validate as block

    return block(source.path("table.parquet"), rules, out)


@step("components.data.splitting", timeout_seconds=HOUR)
def split(
    out: Path, table: Manifest, config: SplitConfig = SplitConfig(), balance: BalanceConfig = BalanceConfig()
) -> Facts:
    """Deal a validated table to `train.parquet`, `validation.parquet` and `test.parquet`."""
    from components.data.splitting import split as block

    ordered = bool(table.facts.get("ordered", False))
    return block(table.path("table.parquet"), config, balance, table.facts["labels"], out, ordered)


@step(
    "components.model.starting_weights",
    identity=_weights_identity,
    timeout_seconds=6 * HOUR,
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=10),
    retry_condition_fn=may_pass,
)
def fetch_weights(out: Path, model: ModelConfig) -> Facts:
    """Bring the starting weights into the store, from the hub, the mirror, a folder or an earlier run's model.

    The vocabulary is loaded too, so that it is in tiktoken's cache, or missed, before anything is trained.
    """
    from components.model.starting_weights import FOLDER, bring_weights
    from components.model.tokenizer import load_tokenizer
    from components.tracking.registry import download_model_folder

    load_tokenizer(model.vocabulary, mirror())
    if model.weights.startswith(TRACKED):
        download_model_folder(model.weights, home(), out / FOLDER)
        return {"weights": model.weights}
    return bring_weights(model.weights, home() / "hub", mirror(), out)


def _training_identity(arguments: Mapping[str, Any]) -> Any:
    from components.model.tokenizer import vocabulary_identity

    model: ModelConfig = arguments["model"]
    # A classifier has no language-model head to tie; where the weights come from is in the manifest of `weights`.
    shape = model.model_dump(mode="json", exclude={"tie_embeddings", "weights"})
    # Without adapters their settings change nothing.
    lora = arguments["lora"] if arguments["train"].trainable == "lora" else None
    vocabulary = vocabulary_identity(model.vocabulary)
    return identify({**arguments, "model": shape | {"vocabulary": vocabulary}, "lora": lora})


@step(
    "components.training.classification",
    identity=_training_identity,
    timeout_seconds=7 * 24 * HOUR,
    unkeyed=("run_id",),
)
def fine_tune(
    out: Path,
    splits: Manifest,
    weights: Manifest,
    model: ModelConfig,
    train: TrainConfig,
    lora: LoraConfig = LoraConfig(),
    run_id: str | None = None,
) -> Facts:
    """Fine-tune a classifier: `model/`, `history.parquet`, `steps.parquet`; curves go to the MLflow run `run_id`.

    What an interruption leaves is kept beside, and so are the rows that made a loss infinite.
    """
    from contextlib import nullcontext

    from components.model.starting_weights import FOLDER
    from components.tracking.runs import attached
    from components.training.classification import fine_tune as block

    if (out / CHECKPOINT).exists():
        run_logger().info("fine_tune: going on from what a run that was stopped has left, if it is whole")
    with attached(run_id, home()) if run_id else nullcontext(NoLogger()) as logger:
        return block(
            splits.path("train.parquet"),
            splits.path("validation.parquet"),
            splits.facts["labels"],
            model,
            train,
            weights.folder / FOLDER if weights.files else None,
            mirror(),
            logger,
            out,
            lora,
            splits.facts.get("class_weights"),
        )


@step("components.evaluation.classification", timeout_seconds=24 * HOUR)
def evaluate(out: Path, splits: Manifest, trained: Manifest) -> Facts:
    """Score a model and two baselines on all three splits: `metrics.json`, `predictions.parquet`, and for figures more.

    Those are in `figures/`: `curves.parquet` (of the test split), `calibration.parquet` and `lengths.parquet`.
    """
    from components.evaluation.classification import evaluate as block

    tables = {name: splits.path(f"{name}.parquet") for name in SPLITS}
    ordered = bool(splits.facts.get("ordered", False))
    return block(tables, trained.folder / "model", splits.facts["majority"], trained.facts["device"], out, ordered)


@task(timeout_seconds=HOUR, cache_policy=NO_CACHE)
def report_validation(run_id: str, folder: Path) -> None:
    """Show a validation, passed or not: table artifact on the flow run's page, report and rejected rows in MLflow."""
    from components.tracking.classification import log_validation
    from components.tracking.runs import attached

    with attached(run_id, home()) as run:
        rows, summary = log_validation(run, folder)
    create_table_artifact(key="validation", table=rows, description=summary)


@task(timeout_seconds=HOUR, cache_policy=NO_CACHE)
def report_failed_training(run_id: str, folder: Path) -> None:
    """Log the rows of the step at which training failed to MLflow, as `failed/batch.parquet`."""
    from components.tracking.runs import attached

    with attached(run_id, home()) as run:
        for file in folder.glob("batch.parquet"):
            run.log_file(file, "failed")


@task(timeout_seconds=HOUR, cache_policy=NO_CACHE)
def log_results(run_id: str, manifests: dict[str, Manifest]) -> None:
    """Write what the steps found out to the MLflow run: data, curves, plots, tables; metrics also to Prefect's page."""
    from components.tracking.classification import log_classification
    from components.tracking.evidence import metrics_rows
    from components.tracking.runs import attached

    with attached(run_id, home()) as run:
        log_classification(run, manifests)
        pages = None if run.on_server else f"Start its pages with `mlflow ui --backend-store-uri {run.shown_uri}`."
        create_link_artifact(key="mlflow-run", link=run.url, link_text=f"MLflow run {run_id}", description=pages)
    facts = manifests["evaluate"].facts
    create_table_artifact(key="metrics", table=metrics_rows(facts), description=str(facts["verdict"]))


@task(timeout_seconds=HOUR, cache_policy=NO_CACHE)
def register(run_id: str, manifests: dict[str, Manifest], model_name: str | None) -> dict[str, str | None]:
    """Log the model and register it as `candidate`; an unchanged model keeps the version that it has.

    Returns `model_uri`, and in `cached_from` the run that made the model if that was an earlier one.
    """
    from components.tracking.classification import publish_classifier
    from components.tracking.runs import attached

    with attached(run_id, home()) as run:
        return publish_classifier(run, manifests, model_name)
