"""How what a run has written down gets to MLflow: one operation after the other, any of them twice without harm.

MLflow's stores keep parameters, tags, files, inputs and points once, however often the same is sent (a point's key in
the database is its name, step, time and value). Runs, logged models and versions get their names from the server: they
carry a key of ours, by which they are found again when an answer was lost.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import TrackingError
from components.tracking import stores
from components.tracking.names import CACHED_FROM, KEY_TAG
from components.tracking.outbox.journal import Operation, Outbox
from components.tracking.resuming import CHANGED_TAG, known_of, logged_steps
from components.tracking.stores import StoreAway, tracking_errors, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

POINTS_A_CALL = 500
"""Metric values in one call; MLflow takes 1,000."""
PARAMETERS_A_CALL = 100
TEXTS = {".html", ".md", ".json", ".yaml", ".yml", ".txt", ""}
"""Suffixes of files in which a run's id may stand."""

Prepare = Callable[["MlflowClient", str, dict[str, str]], str | None]


class Sender:
    """Sends the operations of one outbox to the store that the environment names."""

    def __init__(
        self, outbox: Outbox, home: Path, prepare: Prepare | None = None, again: bool = False, late: bool = False
    ) -> None:
        """Contact nobody yet.

        Args:
            outbox: of the run.
            home: the folder of the local store.
            prepare: called with the client, the experiment's id and the tags before the run is created. It may return
                the id of a run to go on with instead, which has these tags then.
            again: an earlier attempt may have got through: look before anything is created.
            late: other runs may have come to their end since this one did.
        """
        self.outbox = outbox
        self.home = home
        self.again = again
        self.late = late
        self.uri = tracking_uri(home)
        self._prepare = prepare

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's client of the store.

        Raises:
            TrackingError: if the store does not answer.
        """
        return stores.open_client(self.home)

    @property
    def run_id(self) -> str:
        """MLflow's id of the run; the outbox's key while the store is away and has not given one."""
        return str(self.outbox.state.get("run_id", self.outbox.key))

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the run's experiment, empty until that is known."""
        return str(self.outbox.state.get("experiment_id", ""))

    def send(self, lines: Sequence[bytes], position: int) -> None:
        """Send operations and note that everything up to `position` has arrived.

        Args:
            lines: one operation, or several with points of metrics.
            position: in the journal, after them.

        Raises:
            StoreAway: if the store does not answer, or not now.
            TrackingError: if it says no.
        """
        # What was written before the run had an id names it by its key.
        key, run_id = self.outbox.key.encode(), self.run_id.encode()
        operations = [json.loads(line.replace(key, run_id)) for line in lines]
        try:
            with tracking_errors(f"cannot {_about(operations[0])} MLflow run {self.run_id}"):
                learnt = self._do(operations)
        except Exception as error:  # it may come from the library of any store, and must not end the thread that sends
            self.again = True
            if stores.is_outage(error, self.uri, opened="run_id" in self.outbox.state):
                raise StoreAway(stores.root_of(error)) from error
            if isinstance(error, TrackingError):
                raise
            raise TrackingError(f"{type(error).__name__}: {error}") from error
        self.outbox.advance(position, **(learnt or {}))
        if kept := operations[0].get("kept"):
            shutil.rmtree((self.outbox.folder / kept).parent, ignore_errors=True)

    def _do(self, operations: Sequence[Operation]) -> dict[str, Any] | None:
        """Do an operation, once more where another run has written the same row at the same moment."""
        do = getattr(self, f"_{operations[0]['op']}")
        try:
            return do(*operations)  # type: ignore[no-any-return]
        except Exception as error:
            if not stores.is_lost_race(error):
                raise
            self.again = True
            return do(*operations)  # type: ignore[no-any-return]

    def _create(self, operation: Operation) -> dict[str, Any]:
        self.client, experiment_id = stores.connect(self.home, operation["experiment"])
        tags = {KEY_TAG: self.outbox.key, **operation["tags"]}
        known = self._runs(experiment_id) if self.again else []
        run_id = known[0] if known else self._prepare and self._prepare(self.client, experiment_id, tags)
        place = {"experiment_id": experiment_id, "store": stores.shown_store(self.home)}
        if run_id:
            return {"run_id": run_id, **place, **known_of(self.client.get_run(run_id))}
        created = self.client.create_run(experiment_id, operation["time"], tags, operation["name"])
        return {"run_id": created.info.run_id, **place}

    def _runs(self, experiment_id: str) -> list[str]:
        """Return the ids of the runs with the outbox's key, in an order that stays."""
        found = self.client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{self.outbox.key}'")
        return sorted(run.info.run_id for run in found)

    def _params(self, operation: Operation) -> None:
        from mlflow.entities import Param
        from mlflow.utils import chunk_list

        params = [Param(*each) for each in operation["values"].items()]
        for some in chunk_list(params, PARAMETERS_A_CALL):  # type: ignore[no-untyped-call]
            self.client.log_batch(self.run_id, params=some)

    def _tags(self, operation: Operation) -> None:
        from mlflow.entities import RunTag

        self.client.log_batch(self.run_id, tags=[RunTag(*each) for each in operation["values"].items()])
        if CHANGED_TAG in operation["values"]:
            self._logged_steps = {}

    def _metrics(self, *operations: Operation) -> None:
        from mlflow.entities import Metric

        points = [
            Metric(key, value, operation["time"], operation["step"])
            for operation in operations
            for key, value in operation["values"].items()
            if operation["step"] not in self._logged_steps.get(key, ())
        ]
        self.log_points(points)

    def log_points(self, points: "Sequence[Metric]") -> None:
        """Log points of metrics to the run, however many."""
        from mlflow.utils import chunk_list

        for some in chunk_list(points, POINTS_A_CALL):  # type: ignore[no-untyped-call]
            self.client.log_batch(self.run_id, metrics=some)

    @cached_property
    def _logged_steps(self) -> dict[str, set[int]]:
        """The steps at which metrics have points since before the run's process was killed."""
        return logged_steps(self.client, self.run_id) if self.outbox.state.get("resumed") else {}

    def _file(self, operation: Operation) -> None:
        path = self._with_id(operation["kept"])
        write = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        write(self.run_id, str(path), operation["folder"])

    def _inputs(self, operation: Operation) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput

        datasets = [
            DatasetInput(Dataset(**each["dataset"]), [InputTag(*tag) for tag in each["tags"].items()])
            for each in operation["datasets"]
        ]
        models = [LoggedModelInput(model_id) for model_id in operation["models"]]
        self.client.log_inputs(self.run_id, models=models or None, datasets=datasets or None)

    def _model(self, operation: Operation) -> dict[str, Any]:
        from components.tracking.registry.publication import send_model

        self._with_id(operation["kept"])
        return send_model(self, operation)

    def _link(self, operation: Operation) -> dict[str, Any]:
        from components.tracking.registry.publication import send_link

        return send_link(self, operation)

    def _repeat(self, _operation: Operation) -> None:
        if earlier := self.outbox.state.get("cached_from"):
            self.client.set_tag(self.run_id, CACHED_FROM, earlier)

    def _end(self, operation: Operation) -> None:
        begun = self.client.get_run(self.run_id).info.start_time
        self.client.set_terminated(self.run_id, operation["status"], max(begun, operation["time"]))  # clocks go back
        if self.again and self.experiment_id:
            # A server that hung may have created the run once more when it came to.
            for twin in self._runs(self.experiment_id):
                if twin != self.run_id:
                    self.client.delete_run(twin)

    def _with_id(self, kept: str) -> Path:
        """Return where kept files are, after writing the run's id where its key stands in their texts."""
        path, key = self.outbox.folder / kept, self.outbox.key
        if key != self.run_id and not self.outbox.state.get("attached"):
            for file in [path] if path.is_file() else sorted(path.rglob("*")):
                if file.is_file() and file.suffix in TEXTS and key.encode() in (content := file.read_bytes()):
                    draft = file.with_name(f".{file.name}.draft")  # never through the hard link
                    draft.write_bytes(content.replace(key.encode(), self.run_id.encode()))
                    draft.replace(file)
        return path


def _about(operation: Operation) -> str:
    if operation["op"] == "create":
        return "create"
    if "kept" in operation:
        return f"write {Path(operation['kept']).name} to"
    names = {"params": "parameters", "end": f"status {operation.get('status')}", "link": "the model"}
    return f"write {names.get(operation['op'], operation['op'])} to"
