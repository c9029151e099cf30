"""One MLflow run: what it is given is kept on disk and sent beside the work."""

import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import JsonValue

from components.core.errors import TrackingError
from components.core.home import home
from components.core.redaction import redact_told
from components.core.room import describe_full, is_full
from components.tracking.outbox.delivery import Delivery
from components.tracking.stores import without_password

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

PARAMETER_KEY = re.compile(r"[a-z][a-z0-9_]*")
PARAMETER_LIMIT = 6000
"""Characters of a parameter's value that MLflow keeps; the whole config is in the artifact `config.yaml`."""
TABLE_ROWS = 10_000
"""Rows that MLflow's page shows well; a longer table is an artifact to download."""
TABLES_TAG = "mlflow.loggedArtifacts"
LOCAL_PAGES = "http://127.0.0.1:5000"
TRAINING_VIEW = "workflowType=machine_learning"
"""Makes MLflow's page open on metrics and models instead of traces and judges."""

log = logging.getLogger(__name__)


class Run:
    """An open MLflow run. Safe to use from several threads; nothing depends on a thread's active run.

    What it is given is written to disk first and sent from there (`tracking.outbox.delivery`). Every method but
    `metrics` waits until the store has it, unless the store is away. `TrackingError` is raised when the store says no,
    or when the disk cannot be written.
    """

    def __init__(self, name: str, delivery: Delivery, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        self.name = name
        self.params = dict(params)
        """Its parameters, as they are written."""
        self.tags = dict(tags)
        """Its tags."""
        self.lineage: list[Any] = []
        """The models that it goes back to, once `components.tracking.registry.lineage` has looked them up."""
        self._delivery = delivery

    @property
    def key(self) -> str:
        """What the run is called while MLflow has given it no id."""
        return self._delivery.outbox.key

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; `key` while the store is away and has not given one."""
        return self._delivery.sender.run_id

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment, empty while that is not known."""
        return self._delivery.sender.experiment_id

    @property
    def client(self) -> "MlflowClient":
        """MLflow's client of the store that the run is in.

        Raises:
            TrackingError: if the store does not answer.
        """
        return self._delivery.sender.client

    @property
    def away(self) -> str:
        """Why the store is away, if it is."""
        return self._delivery.away

    @property
    def waits(self) -> bool:
        """Whether something is kept that the store has not got."""
        return not self._delivery.arrived

    @property
    def model_uri(self) -> str | None:
        """Where its model is, as far as that is known: `models:/NAME/VERSION`, or `models:/m-...`."""
        found = self._delivery.outbox.state
        return f"models:/{found['name']}/{found['version']}" if found.get("version") else found.get("model_uri")

    @property
    def cached_from(self) -> str | None:
        """The run that made its model, if that was another one."""
        return self._delivery.outbox.state.get("cached_from")

    @property
    def of_killed(self) -> dict[str, Any]:
        """What is known of it from a process that was killed: `components.tracking.resuming.known_of`."""
        return self._delivery.outbox.state

    @property
    def shown_uri(self) -> str:
        """The address of the store without a password, to be shown."""
        return without_password(self._delivery.sender.uri)

    @property
    def on_server(self) -> bool:
        """Whether the store is a server, with pages of its own."""
        return self._delivery.sender.uri.startswith("http")

    @property
    def url(self) -> str:
        """The run's page: on the store's server, else where `mlflow ui` shows it by default."""
        server = self.shown_uri.rstrip("/") if self.on_server else LOCAL_PAGES
        if not self.experiment_id:
            return f"{server}/"
        return f"{server}/#/experiments/{self.experiment_id}/runs/{self.run_id}?{TRAINING_VIEW}"

    def record(self, op: str, wait: bool = True, **values: Any) -> dict[str, Any]:
        """Write an operation down (`tracking.outbox.sending`); return what is known of the run once it arrived."""
        told = values if op == "metrics" else redact_told(values)
        return self._delivery.append({"op": op, "time": now(), **told}, wait)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record metric values at an optimiser step (`components.core.records.Logger`). Never waits for the store."""
        self.record("metrics", wait=False, step=step, values={key: float(value) for key, value in values.items()})

    def flush(self) -> bool:
        """Wait until the store has all that it was given; false if it is away."""
        return self._delivery.flush()

    def log_params(self, config: Mapping[str, JsonValue]) -> None:
        """Record a resolved config: as parameters `section.key`, and whole as the artifact `config.yaml`.

        Values are written as in YAML and `--set` (`true`, `null`, `[0.7, 0.1, 0.2]`), so that they can be pasted there.
        """
        params = {key: shorten(value) for key, value in flatten(config).items()}
        self.params |= params
        self.record("params", values=params)
        told = redact_told(dict(config))  # not the whole text: `gradus judge` reads names and templates from it
        self._log_text(yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=120), "config.yaml")

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        values = {key: str(value) for key, value in tags.items()}
        self.tags |= values
        self.record("tags", values=values)

    def log_dict(self, value: dict[str, Any], name: str) -> None:
        """Store a dictionary as the artifact `name` (.json)."""
        self._log_text(json.dumps(redact_told(value), indent=2, default=str), name)

    def _log_text(self, text: str, name: str) -> None:
        self._log(name, lambda path: path.write_text(text, encoding="utf-8"))

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or all files of a folder, as artifacts in `folder`."""
        with kept_errors(path.name):
            kept = self._delivery.outbox.keep(path)
        self.record("file", kept=kept, folder=folder)

    def log_table(self, frame: "pd.DataFrame", name: str) -> None:
        """Store a table as the artifact `name` (.json), which MLflow shows as one; its first rows if it is long."""
        first = frame.head(TABLE_ROWS)
        self._log(name, lambda path: first.to_json(path, orient="split", index=False, date_format="iso"))
        # What `MlflowClient.log_table` notes as well: the run's page lists its tables from this tag.
        tables = json.loads(self.tags.get(TABLES_TAG, "[]"))
        if (table := {"path": name, "type": "table"}) not in tables:
            self.set_tags({TABLES_TAG: json.dumps([*tables, table])})

    def new_folder(self) -> Path:
        """Make a folder for what `record` is to be given as `kept`."""
        with kept_errors("files"):
            return self._delivery.outbox.folder / self._delivery.outbox.new_folder()

    def kept(self, path: Path) -> str:
        """Return what `record` is to be given for a path inside a `new_folder`."""
        return path.relative_to(self._delivery.outbox.folder).as_posix()

    def _log(self, name: str, write: Callable[[Path], object]) -> None:
        path = self.new_folder() / PurePosixPath(name).name
        with kept_errors(name):
            write(path)
        parent = PurePosixPath(name).parent.as_posix()
        self.record("file", kept=self.kept(path), folder=None if parent == "." else parent)

    def close(self, status: str) -> None:
        """End the run; what the store has not got by then is kept, and a warning says what to do."""
        self.record("end", wait=False, status=status)
        self.leave()

    def leave(self) -> None:
        """Send what is left; what the store does not take now is kept, and a warning says what to do."""
        if not self._delivery.finish():
            log.warning(
                "run %s is not all in MLflow yet: once %s answers, `gradus sync` sends the rest, which is kept in %s",
                self.name,
                self.shown_uri,
                self._delivery.outbox.folder,
            )


@contextmanager
def kept_errors(what: str) -> Iterator[None]:
    """Turn an error of the disk on which things wait to be sent into a `TrackingError` of one line."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise TrackingError(f"cannot keep {what} for MLflow: {describe_full(error, home())}") from error
        raise TrackingError(f"cannot keep {what} for MLflow: {error.strerror or error}; see to GRADUS_HOME") from error


def now() -> int:
    """Return the time in milliseconds, as MLflow counts it."""
    return time.time_ns() // 1_000_000


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
