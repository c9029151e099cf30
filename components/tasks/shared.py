"""The tasks that every flow has: fetch data and weights, and report what was refused or failed."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from prefect import Task, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from components.core.errors import TransientError
from components.core.home import home, mirror
from components.core.records import Facts, Logger, Manifest, NoLogger
from components.core.steps import identify, run_logger, step
from components.data.addresses import find_run_files_with
from components.data.sources import FileSource
from components.learned import LEARNED, Ancestry, Hashes, TestedRows, write_learned
from components.models.config import ModelConfig
from components.models.pretrained.files import SAVED, TRACKED, find_tracked_with
from components.tracking.runs import Run, attached
from components.training.config import NOT_LEARNT_FROM, Recipe

if TYPE_CHECKING:
    from components.data.split.row_index import RowIndex

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SMALLER_BATCHES = (
    "lower train.batch_size (train.accumulate makes up for it) or train.max_length, or set train.trainable=lora"
)
SHORTER_TEXTS = "lower train.max_length, or source.limit, which is the number of rows that are read"
FEWER_PROMPTS = "lower generation.batch_size or generation.max_new_tokens"
"""What to do where a step gets no memory."""


ServerErrors = (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError, ValueError, TypeError, LookupError)
"""What Prefect's client raises where a server cannot be reached, refuses, or answers what no Prefect server would."""

_lost: set[str | None] = set()
"""Flow runs whose server was lost, by their ids."""


def show_table(key: str, table: list[dict[str, Any]], description: str) -> None:
    """Put a table on the flow run's page, if its server is there."""
    _show(create_table_artifact, key=key, table=table, description=description)


def show_link(key: str, link: str, text: str, description: str | None) -> None:
    """Put a link on the flow run's page, if its server is there."""
    _show(create_link_artifact, key=key, link=link, link_text=text, description=description)


def lost_server() -> bool:
    """Tell whether the server of the flow run under way was found lost."""
    return flow_run.get_id() in _lost


def _show(create: Callable[..., Any], **artifact: Any) -> None:
    if lost_server():
        return
    try:
        create(**artifact)
    except ServerErrors as error:
        _lost.add(flow_run.get_id())  # it was asked again and again, so the next artifact does not wait for it
        run_logger().debug("Prefect's server is lost: %s", error)


def may_pass(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Say whether a failure is of a kind that may be gone a little later."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


def _tracked_folder(weights: str) -> Path:
    """Return the folder of an earlier run's model; one that lies elsewhere is fetched once."""
    from components.models.saved.card import find_saved
    from components.tracking.registry.finding import download_model_folder, resolve_model

    location = resolve_model(weights, home())
    if Path(location).is_dir() and (found := find_saved(Path(location))):
        return found
    target = home() / "hub" / "tracked" / sha256(location.encode()).hexdigest()[:32]
    return target if target.is_dir() else download_model_folder(weights, home(), target)


def _run_file(address: str) -> Path:
    from components.tracking.run_files import run_file

    return run_file(address, home())


find_tracked_with(_tracked_folder)
find_run_files_with(_run_file)


def _source_identity(arguments: Mapping[str, Any]) -> Any:
    from components.data.download import source_identity

    return source_identity(arguments["source"], mirror())


def _weights_identity(arguments: Mapping[str, Any]) -> Any:
    from components.models.starting_weights import adapter_identity, weights_identity
    from components.tracking.registry.finding import resolve_model

    adapter_identity(arguments["model"].adapter)  # a wrong one is refused before anything is fetched
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
def download(out: Path, source: FileSource) -> Facts:
    """Fetch, unpack and read a source: `raw/<name>` and `table.parquet` (the columns that it maps)."""
    from components.data.download import download as block

    return block(source, home() / "downloads", mirror(), out)


@step(
    "components.models.starting_weights",
    "components.learned",
    identity=_weights_identity,
    timeout_seconds=6 * HOUR,
    out_of_memory="choose a smaller model.weights",
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=10),
    retry_condition_fn=may_pass,
)
def fetch_weights(out: Path, model: ModelConfig) -> Facts:
    """Bring the starting weights into the store, from the hub, the mirror, a folder or an earlier run's model.

    The vocabulary is loaded too, so that it is in tiktoken's cache, or missed, before anything is trained. Of an
    earlier run's model, `learned.parquet` holds the rows that it and those before it were trained on.
    """
    from components.models.starting_weights import FOLDER, bring_weights
    from components.models.tokenizer import load_tokenizer
    from components.tracking.registry.finding import download_model_folder
    from components.tracking.registry.lineage import learned_by, model_and_ancestors

    load_tokenizer(model.tokenizer, mirror())
    if model.weights.startswith(TRACKED):
        download_model_folder(model.weights, home(), out / FOLDER)
        before = learned_by(model_and_ancestors(model.weights, home()), learned_from_predictions, home())
        write_learned(before.rows, out / LEARNED)
        return {"weights": model.weights, **before.facts()}
    facts = bring_weights(model.weights, home() / "hub", mirror(), out)
    if (out / FOLDER / SAVED).is_file():
        run_logger().warning(
            f"what {model.weights} was trained on is not known from its folder, and rows of it may be tested on: name "
            "the model as runs:/RUN or models:/NAME/VERSION to have them left out"
        )
    return facts


@task(timeout_seconds=HOUR, cache_policy=NO_CACHE)
def report_validation(run_id: str, folder: Path) -> None:
    """Show a validation, passed or not: table artifact on the flow run's page, report and rejected rows in MLflow."""
    from components.tracking.recording import log_validation

    with attached(run_id, home()) as run:
        rows, summary = log_validation(run, folder)
    show_table(key="validation", table=rows, description=summary)


@task(timeout_seconds=HOUR, cache_policy=NO_CACHE)
def report_failed_training(run_id: str, folder: Path) -> None:
    """Log the rows of the step at which training failed to MLflow, as `failed/batch.parquet`."""
    log_failed(run_id, folder.glob("batch.parquet"))


def log_failed(run_id: str, files: Iterable[Path]) -> None:
    """Log what a failed step leaves to MLflow, in `failed/`."""
    with attached(run_id, home()) as run:
        for file in files:
            run.log_file(file, "failed")


def link_to_run(run: Run) -> None:
    """Link to the MLflow run from the flow run's page."""
    pages = None if run.on_server else f"Start its pages with `mlflow ui --backend-store-uri {run.shown_uri}`."
    if run.away:
        pages = "MLflow is away; if it is not back before the run's end, `gradus sync` sends the run later."
    show_link(key="mlflow-run", link=run.url, text=f"MLflow run {run.run_id}", description=pages)


@contextmanager
def training_logger(run_id: str | None, splits: Manifest, weights: Manifest) -> Iterator[Logger]:
    """Let a training write its curves to an MLflow run, if there is one, and pass on what it says to the flow's log."""
    from components.tracking.recording import note_data

    with _passed_on(logging.getLogger("components.training")):
        if run_id is None:
            yield NoLogger()
            return
        with attached(run_id, home()) as run:
            note_data(run, splits.digest, weights.digest)
            yield run


@contextmanager
def _passed_on(source: logging.Logger) -> Iterator[None]:
    """Send what is logged to `source` to the logger of the task that runs, which the page of its run shows."""

    class PassOn(logging.Handler):
        target = run_logger()

        def emit(self, record: logging.LogRecord) -> None:
            self.target.log(record.levelno, record.getMessage())

    handler, before = PassOn(), (source.level, source.propagate)
    source.addHandler(handler)
    source.setLevel(logging.INFO)
    source.propagate = False
    try:
        yield
    finally:
        source.removeHandler(handler)
        source.level, source.propagate = before


def learned_from_predictions(path: Path) -> Hashes:
    """Return the hashes of the training rows in a `predictions.parquet`."""
    from components.data.split.folding import fold
    from components.evaluation.paired.matching import read_scored

    return read_scored(path, fold).learned


def unseen_rows(
    out: Path, splits: Manifest, index: "Callable[[Path], RowIndex]", weights: Manifest | None, flow: Collection[str]
) -> TestedRows | None:
    """Return which test rows no earlier model was trained on; None if the weights are no earlier run's.

    Hashes of the training rows are written to `learned.parquet`, for models that go on from this one.
    """
    write_learned(index(splits.path("train.parquet")).folded, out / LEARNED)
    if weights is None or LEARNED not in weights.files:
        return None
    hashes = index(splits.path("test.parquet")).folded
    return Ancestry.of(weights.facts, weights.path(LEARNED)).tested(hashes, flow)


def weights_folder(weights: Manifest) -> Path | None:
    """Return where `fetch_weights` put the weights, None if they are random."""
    from components.models.starting_weights import FOLDER

    return weights.folder / FOLDER if weights.files else None


def network_identity(model: ModelConfig, without: Collection[str] = ()) -> dict[str, Any]:
    """Return what a network is by content; where its weights come from is in the manifest of `fetch_weights`."""
    from components.models.starting_weights import adapter_identity
    from components.models.tokenizer import vocabulary_identity

    shape = model.model_dump(mode="json", exclude={"weights", "adapter", *without})
    adapter = {"adapter": adapter_identity(model.adapter)} if model.adapter else {}
    return shape | adapter | {"vocabulary": vocabulary_identity(model.tokenizer)}


def computed_on(device: str, precision: str) -> dict[str, str]:
    """Return what `auto` came to here: on another machine the same config has another result."""
    from components.models.processor import resolve

    resolved = resolve(device, precision)
    return dict(zip(("device", "precision"), resolved, strict=True))


def training_identity(arguments: Mapping[str, Any], without: Collection[str] = ()) -> Any:
    """Return what a training depends on, on this machine: not on `without` of the network."""
    train: Recipe = arguments["train"]
    learning = train.model_copy(update=computed_on(train.device, train.precision))
    learnt = learning.model_dump(mode="json", exclude=set(NOT_LEARNT_FROM))
    # Without adapters their settings change nothing.
    lora = arguments["lora"] if train.trainable == "lora" else None
    model = network_identity(arguments["model"], without)
    return identify({**arguments, "model": model, "train": learnt, "lora": lora})
