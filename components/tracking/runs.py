"""One MLflow run a flow run: opened first, always closed, written to by its id from any thread."""

import json
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import JsonValue

from components.errors import GradusError, TrackingError
from components.tracking import resuming
from components.tracking.config import TrackingConfig
from components.tracking.provenance import is_orphan
from components.tracking.resuming import ERROR_TAG, NOTE_TAG, ORPHANED
from components.tracking.stores import connect, one_line, open_client, tracking_errors, without_password

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Metric

FLUSH_SIZE = 500
"""Metric values kept back at most; MLflow takes 1,000 in one call."""
FLUSH_SECONDS = 5.0
"""Seconds after which metrics are written though fewer came, so that curves grow while one looks."""
PARAMETERS_A_CALL = 100
PARAMETER_KEY = re.compile(r"[a-z][a-z0-9_]*")
PARAMETER_LIMIT = 6000
"""Characters of a parameter's value that MLflow keeps; the whole config is in the artifact `config.yaml`."""
TABLE_ROWS = 10_000
"""Rows that MLflow's page shows well; a longer table is an artifact to download."""
LOCAL_PAGES = "http://127.0.0.1:5000"
TRAINING_VIEW = "workflowType=machine_learning"
"""Makes MLflow's page open on metrics and models instead of traces and judges."""
EVIDENCE_TAG = "gradus.evidence"

log = logging.getLogger(__name__)


@dataclass
class Run:
    """An open MLflow run. Safe to use from several threads; nothing depends on a thread's active run.

    Every method raises `TrackingError` when the store cannot be written.
    """

    run_id: str
    name: str
    experiment_id: str
    client: "MlflowClient"
    logged: Mapping[str, set[int]] | None = field(default=None, repr=False)
    """Of a run that is gone on in: the steps at which metrics have points, which are not written again."""
    _buffer: "list[Metric]" = field(default_factory=list, repr=False)
    _flushed: float = field(default_factory=time.monotonic, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def tracking_uri(self) -> str:
        """The address of the store that the run is in."""
        return str(self.client.tracking_uri)

    @property
    def shown_uri(self) -> str:
        """The address of the store without a password, to be shown."""
        return without_password(self.tracking_uri)

    @property
    def on_server(self) -> bool:
        """Whether the store is a server, with pages of its own."""
        return self.tracking_uri.startswith("http")

    @property
    def url(self) -> str:
        """The run's page: on the store's server, else where `mlflow ui` shows it by default."""
        server = self.shown_uri.rstrip("/") if self.on_server else LOCAL_PAGES
        return f"{server}/#/experiments/{self.experiment_id}/runs/{self.run_id}?{TRAINING_VIEW}"

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record metric values at an optimiser step; they are written in batches (`components.records.Logger`)."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        with self._lock:
            new = (key for key in values if not self.logged or step not in self.logged.get(key, ()))
            self._buffer += [Metric(key, float(values[key]), now, step) for key in new]
            due = len(self._buffer) >= FLUSH_SIZE or time.monotonic() - self._flushed > FLUSH_SECONDS
        if due:
            self.flush()

    def flush(self) -> None:
        """Write the metrics that were kept back."""
        with self._lock, self._writing("metrics"):
            while self._buffer:
                self.client.log_batch(self.run_id, metrics=self._buffer[:FLUSH_SIZE])
                del self._buffer[:FLUSH_SIZE]
            self._flushed = time.monotonic()

    def log_params(self, config: Mapping[str, JsonValue]) -> None:
        """Record a resolved config: as parameters `section.key`, and whole as the artifact `config.yaml`.

        Values are written as in YAML and `--set` (`true`, `null`, `[0.7, 0.1, 0.2]`), so that they can be pasted there.
        """
        from mlflow.entities import Param

        params = [Param(key, shorten(value)) for key, value in flatten(config).items()]
        with self._writing("parameters"):
            for start in range(0, len(params), PARAMETERS_A_CALL):
                self.client.log_batch(self.run_id, params=params[start : start + PARAMETERS_A_CALL])
        self.log_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=120), "config.yaml")

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        from mlflow.entities import RunTag

        with self._writing("tags"):
            self.client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def log_text(self, text: str, name: str) -> None:
        """Store a text as the artifact `name`."""
        with self._writing(name):
            self.client.log_text(self.run_id, text, name)

    def log_dict(self, value: dict[str, Any], name: str) -> None:
        """Store a dictionary as the artifact `name`, JSON or YAML by its suffix."""
        with self._writing(name):
            self.client.log_dict(self.run_id, value, name)

    def log_figure(self, figure: "Figure", name: str) -> None:
        """Store a matplotlib figure as the artifact `name`, in the format of its suffix."""
        with self._writing(name):
            self.client.log_figure(self.run_id, figure, name, save_kwargs={"dpi": 144})

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or all files of a folder, as artifacts in `folder`."""
        with self._writing(path.name):
            write = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
            write(self.run_id, str(path), folder)

    def log_table(self, frame: "pd.DataFrame", name: str) -> None:
        """Store a table as the artifact `name` (.json), which MLflow shows as one; its first rows if it is long."""
        with self._writing(name):
            if self.logged is not None:
                resuming.empty_table(self.client, self.run_id, list(frame.columns), name)
            self.client.log_table(self.run_id, frame.head(TABLE_ROWS), name)

    def close(self, status: str) -> None:
        """Write what was kept back and end the run, even if that writing fails."""
        try:
            self.flush()
        finally:
            with self._writing(f"status {status}"):
                self.client.set_terminated(self.run_id, status)

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        with tracking_errors(f"cannot write {what} to MLflow run {self.run_id}"):
            yield


@contextmanager
def open_run(
    config: TrackingConfig,
    home: Path,
    name: str,
    params: Mapping[str, JsonValue],
    tags: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """Open an MLflow run, and close it however the block ends.

    FINISHED when the block does; FAILED with the error's text in the tag `gradus.error` and on the run's page;
    KILLED when it is interrupted (Ctrl-C, exit, a termination signal turned into an exception). Runs that a killed
    process of this machine left open are closed first; one of this very config is gone on in instead.

    Args:
        config: the section `tracking`.
        home: the folder of the local store.
        name: the run's name.
        params: the whole resolved config, nested, JSON-able.
        tags: further tags.

    Raises:
        TrackingError: if the store cannot be reached or written.
    """
    client, experiment_id = connect(home, config.experiment)
    with resuming.alone(home):
        reconcile(client, experiment_id)
        run = _found(client, resuming.go_on_or_create(client, experiment_id, name, params, tags or {}))
    with ExitStack() as stack:
        stack.enter_context(_closing(run))
        run.log_params(params)
        if config.system_metrics:
            from components.tracking.monitoring import system_metrics

            stack.enter_context(system_metrics(client, run.run_id))
        yield run


@contextmanager
def attached(run_id: str, home: Path) -> Iterator[Run]:
    """Write to a run that another part of the program holds open; what was kept back is written at the end.

    Raises:
        TrackingError: if the store cannot be reached, or has no such run.
    """
    run = _found(open_client(home), run_id)
    try:
        yield run
    finally:
        run.flush()


def _found(client: "MlflowClient", run_id: str) -> Run:
    with tracking_errors(f"cannot find MLflow run {run_id}"):
        run = client.get_run(run_id)
        return Run(run_id, run.info.run_name, run.info.experiment_id, client, resuming.logged_steps(client, run))


@contextmanager
def _closing(run: Run) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        # What is no Exception is an interruption: KeyboardInterrupt, SystemExit, Prefect's TerminationSignal.
        failed = isinstance(error, Exception)
        error.run_id = run.run_id  # type: ignore[attr-defined]  # for whoever reports the error
        _close_quietly(run, "FAILED" if failed else "KILLED", describe_error(error), getattr(error, "evidence", None))
        raise
    else:
        run.close("FINISHED")


def _close_quietly(run: Run, status: str, reason: str, evidence: Path | None) -> None:
    """Close a run without hiding the error that ends it behind one of the store."""
    kept = {EVIDENCE_TAG: str(evidence)} if evidence else {}
    try:
        try:
            run.set_tags({ERROR_TAG: reason, NOTE_TAG: f"{status.capitalize()}: {reason}", **kept})
        finally:
            run.close(status)
    except TrackingError as error:
        log.warning("%s", error)


def describe_error(error: BaseException) -> str:
    """Return an error's text on one line; with its type unless it is one that Gradus words itself."""
    text = one_line(error, limit=4000)
    if isinstance(error, GradusError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def reconcile(client: "MlflowClient", experiment_id: str) -> list[str]:
    """Set runs to KILLED whose process on this machine is gone (`kill -9`, power loss), and return their ids.

    Raises:
        TrackingError: if the store cannot be read or written.
    """
    with tracking_errors("cannot close the runs of killed processes"):
        orphans = [run for run in _running(client, experiment_id) if is_orphan(run.data.tags)]
        for run in orphans:
            client.set_tag(run.info.run_id, ERROR_TAG, ORPHANED)
            client.set_tag(run.info.run_id, NOTE_TAG, f"Killed: {ORPHANED}")
            client.set_terminated(run.info.run_id, "KILLED")
    return [run.info.run_id for run in orphans]


def _running(client: "MlflowClient", experiment_id: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment_id], "attributes.status = 'RUNNING'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def flatten(config: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    """Return a nested config as one level of keys joined by dots; lists and empty sections stay values."""
    flat: dict[str, JsonValue] = {}
    for key, value in config.items():
        # A mapping from labels is a value: MLflow's keys may not hold every character that a label may.
        if isinstance(value, dict) and value and all(PARAMETER_KEY.fullmatch(name) for name in value):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def shorten(value: JsonValue) -> str:
    """Return a parameter's value as text, cut to what MLflow keeps."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= PARAMETER_LIMIT else text[: PARAMETER_LIMIT - 1] + "…"
