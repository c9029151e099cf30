"""Reading finished runs back: by id, by the beginning of one, or by the model that they made."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import TrackingError
from components.tracking.registry import ALIAS, RUN_ID, RUN_MODEL, VERSION, get_version, unless_absent, version_by_alias
from components.tracking.stores import open_client, tracking_errors, tracking_uri

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run as RunEntity
    from mlflow.entities.model_registry import ModelVersion

PREFIX = re.compile(r"[0-9a-f]{8,31}")
PREDICTIONS = "predictions.parquet"
HINT = "give a run's id or its first 8 characters or more, models:/NAME@ALIAS or models:/NAME/VERSION"


@dataclass(frozen=True)
class FinishedRun:
    """What a run left, as far as two runs can be compared by it."""

    run_id: str
    name: str
    params: Mapping[str, str] = field(repr=False)
    metrics: Mapping[str, float] = field(repr=False)
    test_sha256: str | None

    @property
    def title(self) -> str:
        """What to call the run in a sentence."""
        return f"{self.name} {self.run_id[:8]}"


def find_run(address: str, home: Path) -> FinishedRun:
    """Return the finished run that an address names.

    Args:
        address: a run id, the beginning of one (8 characters or more), `runs:/RUN`, or a registered model's address
            (`models:/NAME@ALIAS`, `models:/NAME/VERSION`), which stands for the run that made it.
        home: the folder of the local store.

    Raises:
        TrackingError: if there is no such run, several begin like this, or it is not finished.
    """
    client = open_client(home)
    with tracking_errors(f"cannot look up the run {address}"):
        return finished(client, _run_id(client, address))


def finished(client: "MlflowClient", run_id: str) -> FinishedRun:
    """Return a finished run by its id.

    Raises:
        TrackingError: if there is no such run, or it is not finished.
    """
    run = unless_absent(lambda: client.get_run(run_id))
    if run is None:
        raise TrackingError(f"there is no run {run_id}; {HINT}")
    if run.info.status != "FINISHED":
        raise TrackingError(f"run {run_id} is {run.info.status.lower()}, not finished: it has no figures to go by")
    return FinishedRun(run_id, run.info.run_name, run.data.params, run.data.metrics, _test_sha256(run))


def find_registered(address: str, name: str | None, home: Path) -> "ModelVersion":
    """Return the registered version that an address names: a model's own, or that of the model that a run made.

    Args:
        address: as in `find_run`.
        name: the registered model, where a run's model stands under several names.
        home: the folder of the local store.

    Raises:
        TrackingError: if there is none.
    """
    client = open_client(home)
    with tracking_errors(f"cannot look up the model of {address}"):
        return _addressed(client, address) or _made_by(client, _run_id(client, address), name)


def read_predictions(run: FinishedRun, home: Path) -> "tuple[pd.DataFrame, set[str]]":
    """Return what a run's model said of the test split, and the texts that it was trained on.

    Raises:
        TrackingError: if the run has no predictions.
    """
    import pandas as pd
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory(prefix="gradus-") as folder:
        doing = f"run {run.run_id} has no {PREDICTIONS} to compare by"
        with tracking_errors(doing):
            uri = tracking_uri(home)
            path = download_artifacts(f"runs:/{run.run_id}/{PREDICTIONS}", dst_path=folder, tracking_uri=uri)
        test = pd.read_parquet(path, filters=[("split", "==", "test")])
        train = pd.read_parquet(path, columns=["text"], filters=[("split", "==", "train")])
    return test, set(train["text"])


def _run_id(client: "MlflowClient", address: str) -> str:
    if version := _addressed(client, address):
        return str(version.run_id)
    if match := RUN_MODEL.fullmatch(address):
        return match["run"]
    if RUN_ID.fullmatch(address):
        return address
    if PREFIX.fullmatch(address):
        return _by_prefix(client, address)
    raise TrackingError(f"{address!r} names no run; {HINT}")


def _addressed(client: "MlflowClient", address: str) -> "ModelVersion | None":
    """Return the version that a `models:/` address names; None for an address of another kind."""
    if match := ALIAS.fullmatch(address):
        found = version_by_alias(client, match["name"], match["alias"])
    elif match := VERSION.fullmatch(address):
        found = get_version(client, match["name"], match["version"])
    else:
        return None
    if found is None:
        raise TrackingError(f"there is no registered model {address}; {HINT}")
    return found


def _by_prefix(client: "MlflowClient", prefix: str) -> str:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"attributes.run_id LIKE '{prefix}%'", max_results=2)
    if len(found) != 1:
        how_many = "no run begins" if not found else "several runs begin"
        raise TrackingError(f"{how_many} with {prefix}; {HINT}")
    return str(found[0].info.run_id)


def _made_by(client: "MlflowClient", run_id: str, name: str | None) -> "ModelVersion":
    run = unless_absent(lambda: client.get_run(run_id))
    if run is None:
        raise TrackingError(f"there is no run {run_id}; {HINT}")
    models = [output.model_id for output in run.outputs.model_outputs] if run.outputs else []
    versions = [
        version
        for model in models
        for version in client.search_model_versions(f"tags.`gradus.model_id` = '{model}'")
        if name in (None, version.name)
    ]
    names = sorted({version.name for version in versions})
    if len(names) > 1:
        raise TrackingError(
            f"run {run_id}'s model is registered as {' and '.join(names)}; say which: --model-name NAME"
        )
    if not versions:
        where = f" as {name}" if name else ""
        raise TrackingError(f"run {run_id} has no registered model{where}; set tracking.model_name and run it again")
    return max(versions, key=lambda version: int(version.version))


def _test_sha256(run: "RunEntity") -> str | None:
    """Return the hash of the test split that a run was measured on."""
    for entry in run.inputs.dataset_inputs if run.inputs else []:
        tags = {tag.key: tag.value for tag in entry.tags}
        if tags.get("split") == "test":
            return tags.get("sha256")
    return None
