"""One MLflow run: what it is given is kept on disk and sent beside the work."""

import json
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import JsonValue

from components.core.redaction import redact_prose
from components.tracking.outbox.delivery import Delivery
from components.tracking.outbox.journal import Outbox
from components.tracking.outbox.sending import Prepare
from components.tracking.stores import tracking_errors, without_password

if TYPE_CHECKING:
    import pandas as pd

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


class Run(Delivery):
    """An open MLflow run. Safe to use from several threads; nothing depends on a thread's active run.

    What it is given is written to disk first and sent from there (`tracking.outbox.delivery`). Every method but
    `metrics` waits until the store has it, unless the store is away. `TrackingError` is raised when the store says no,
    or when the disk cannot be written.
    """

    def __init__(self, name: str, outbox: Outbox, home: Path, prepare: Prepare | None = None) -> None:
        super().__init__(outbox, home, prepare)
        self.name = name
        self.key = outbox.key
        """What the run is called while MLflow has given it no id."""
        self.params: dict[str, str] = {}
        """Its parameters, as they are written."""
        self.tags: dict[str, str] = {}
        """Its tags."""
        self.lineage: list[Any] = []
        """The models that it goes back to, once `components.tracking.registry.lineage` has looked them up."""

    @property
    def model_uri(self) -> str | None:
        """Where its model is, as far as that is known: `models:/NAME/VERSION`, or `models:/m-...`."""
        found = self.outbox.state
        return f"models:/{found['name']}/{found['version']}" if found.get("version") else found.get("model_uri")

    @property
    def cached_from(self) -> str | None:
        """The run that made its model, if that was another one."""
        return self.outbox.state.get("cached_from")

    @property
    def shown_uri(self) -> str:
        """The address of the store without a password, to be shown."""
        return without_password(self.uri)

    @property
    def on_server(self) -> bool:
        """Whether the store is a server, with pages of its own."""
        return self.uri.startswith("http")

    @property
    def url(self) -> str:
        """The run's page: on the store's server, else where `mlflow ui` shows it by default."""
        server = self.shown_uri.rstrip("/") if self.on_server else LOCAL_PAGES
        if not self.experiment_id:
            return f"{server}/"
        return f"{server}/#/experiments/{self.experiment_id}/runs/{self.run_id}?{TRAINING_VIEW}"

    def record(self, op: str, wait: bool = True, **values: Any) -> dict[str, Any]:
        """Write an operation down (`tracking.outbox.sending`); return what is known of the run once it arrived.

        Of files that it needs, `kept` is where in the outbox they are.
        """
        if "kept" in values:
            values["kept"] = values["kept"].relative_to(self.outbox.folder).as_posix()
        values = values if op == "metrics" else redact_prose(values)
        # MLflow counts time in milliseconds.
        return self.append({"op": op, "time": time.time_ns() // 1_000_000, **values}, wait)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record metric values at an optimiser step (`components.core.records.Logger`). Never waits for the store."""
        self.record("metrics", wait=False, step=step, values={key: float(value) for key, value in values.items()})

    def log_params(self, config: Mapping[str, JsonValue]) -> None:
        """Record a resolved config: as parameters `section.key`, and whole as the artifact `config.yaml`.

        Values are written as in YAML and `--set` (`true`, `null`, `[0.7, 0.1, 0.2]`), so that they can be pasted there.
        """
        params = {key: shorten(value) for key, value in flatten(config).items()}
        self.params |= params
        self.record("params", values=params)
        # Not the whole text is redacted: `gradus judge` reads names and templates from it.
        redacted = redact_prose(dict(config))
        self.log_text(yaml.safe_dump(redacted, sort_keys=False, allow_unicode=True, width=120), "config.yaml")

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        values = {key: str(value) for key, value in tags.items()}
        self.tags |= values
        self.record("tags", values=values)

    def log_dict(self, value: dict[str, Any], name: str) -> None:
        """Store a dictionary as the artifact `name` (.json)."""
        self.log_text(json.dumps(redact_prose(value), indent=2, default=str), name)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or all files of a folder, as artifacts in `folder`."""
        self.record("file", kept=self.outbox.keep(path), folder=folder)

    def log_table(self, frame: "pd.DataFrame", name: str) -> None:
        """Store a table as the artifact `name` (.json), which MLflow shows as one; its first rows if it is long."""
        self.log_text(frame.head(TABLE_ROWS).to_json(orient="split", index=False, date_format="iso"), name)
        # What `MlflowClient.log_table` notes as well: the run's page lists its tables from this tag.
        tables = json.loads(self.tags.get(TABLES_TAG, "[]"))
        if (table := {"path": name, "type": "table"}) not in tables:
            self.set_tags({TABLES_TAG: json.dumps([*tables, table])})

    def log_text(self, text: str, name: str) -> None:
        """Store a text as the artifact `name`."""
        path = self.outbox.new_folder() / name
        with tracking_errors(f"cannot keep {name} for MLflow"):
            path.write_text(text, encoding="utf-8")
        self.record("file", kept=path, folder=None)

    def close(self, status: str) -> None:
        """End the run; what the store has not got by then is kept, and a warning says what to do."""
        self.record("end", wait=False, status=status)
        self.leave()

    def leave(self) -> None:
        """Send what is left; what the store does not take now is kept, and a warning says what to do."""
        if not self.finish():
            log.warning(
                "run %s is not all in MLflow yet: once %s answers, `gradus sync` sends the rest, which is kept in %s",
                self.name,
                self.shown_uri,
                self.outbox.folder,
            )


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
