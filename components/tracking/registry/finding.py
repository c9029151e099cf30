"""Find models: by run, by registered version or alias, by address, in a folder."""

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from components.core.errors import TrackingError
from components.core.integrity import HASHES, find_damage, hash_of_hashes
from components.models.pretrained.files import is_adapter_alone
from components.models.saved.card import find_saved
from components.tracking.names import CACHED_FROM, HASHES_TAG, KEY_TAG, MODEL_ID_TAG, MODEL_NAME
from components.tracking.registry.promotion_tags import CHAMPION
from components.tracking.stores import every, open_client, quoted, tracking_errors, tracking_uri, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities import Run as RunEntity
    from mlflow.entities.model_registry import ModelVersion

Found = TypeVar("Found")

RUN_MODEL = re.compile(r"(?:runs:/+)?(?P<run>[0-9a-f]{32})(?:/(?P<name>[^/]+))?/?")
LOGGED_MODEL = re.compile(r"models:/+(?P<id>m-[0-9a-f]{32})/?")
ALIAS = re.compile(r"models:/+(?P<name>[^/@]+)@(?P<alias>[^/@]+)/?")
VERSION = re.compile(r"models:/+(?P<name>[^/@]+)/(?P<version>\d+|latest)/?")
ABSENT = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"}
"""How MLflow's stores say that something is not there; an alias that is not set counts as a wrong parameter."""
HINT = "give a run id, models:/NAME@ALIAS, models:/NAME/VERSION or a folder"


def resolve_model(model: str, home: Path) -> str:
    """Return where a model's files are: a folder, or the address of a remote one that `load_model` can fetch.

    Args:
        model: a folder, a run id, `runs:/RUN[/NAME]`, `models:/NAME@ALIAS`, `models:/NAME/VERSION`,
            `models:/NAME/latest` or `models:/m-...`.
        home: the folder of the local store.

    Raises:
        TrackingError: if there is no such model, or its files are gone.
    """
    if Path(model).expanduser().is_dir():
        return str(Path(model).expanduser().absolute())
    if not re.match(r"(runs|models):/|[0-9a-f]{32}$", model):
        raise TrackingError(f"{model!r} is neither a folder nor a model's address; {HINT}")
    client = open_client(home)
    with tracking_errors(f"cannot look up the model {model}"):
        return _place(client, _find(client, model), model)


def _find(client: "MlflowClient", model: str) -> "LoggedModel | ModelVersion":
    """Return MLflow's own record of what an address names: a run's or a logged model, or a registered version."""
    if match := RUN_MODEL.fullmatch(model):
        return _model_of_run(client, match["run"], match["name"])
    if match := LOGGED_MODEL.fullmatch(model):
        return _logged_model(client, match["id"])
    if version := addressed_version(client, model):
        return version
    raise TrackingError(f"{model!r} names no model; {HINT}")


def addressed_version(client: "MlflowClient", address: str, hint: str = HINT) -> "ModelVersion | None":
    """Return the version that a registered model's address names; None for an address of another kind.

    Raises:
        TrackingError: if there is no such version; it ends with `hint` and, of a champion, with how to get one.
    """
    if match := ALIAS.fullmatch(address):
        found = version_by_alias(client, match["name"], match["alias"])
    elif match := VERSION.fullmatch(address):
        found = get_version(client, match["name"], match["version"])
    else:
        return None
    if found is None:
        if address.rstrip("/").endswith(f"@{CHAMPION}"):
            hint += f"; `gradus promote` makes a champion, `gradus rollback {match['name']}` puts an earlier one back"
        raise TrackingError(f"there is no registered model {address}; {hint}")
    return found


@dataclass(frozen=True)
class Origin:
    """A model by names that stay: an alias may point elsewhere tomorrow."""

    model: str
    """`models:/NAME/VERSION` if it was asked for by the name of a registered model, else `models:/m-...`."""
    model_id: str | None
    """MLflow's id of the logged model; None for a version that was registered from elsewhere."""
    run_id: str | None
    """The run that made it, if that is known."""


def find_origin(client: "MlflowClient", model: str) -> Origin:
    """Return which model an address names now: `runs:/RUN[/NAME]`, `models:/NAME@ALIAS` and so on.

    Raises:
        TrackingError: if there is no such model.
    """
    from mlflow.entities import LoggedModel

    found = _find(client, model)
    if isinstance(found, LoggedModel):
        return Origin(f"models:/{found.model_id}", found.model_id, found.source_run_id)
    logged = LOGGED_MODEL.fullmatch(version_source(found))
    there = unless_absent(lambda: client.get_logged_model(logged["id"])) if logged else None
    return Origin(f"models:/{found.name}/{found.version}", there.model_id if there else None, found.run_id or None)


def _place(client: "MlflowClient", found: "LoggedModel | ModelVersion", model: str) -> str:
    """Return where files are, after a look whether they are there, and `hashes.json` is the one that was logged."""
    from mlflow.entities import LoggedModel

    location = str(found.artifact_location if isinstance(found, LoggedModel) else version_source(found))
    if match := LOGGED_MODEL.fullmatch(location):
        location = str(_logged_model(client, match["id"]).artifact_location)
    path, hashes = Path(location.removeprefix("file://")), found.tags.get(HASHES_TAG)
    if not path.is_absolute():
        return location
    if not path.is_dir():
        raise TrackingError(f"the files of {model} are gone from {path}; run its pipeline again")
    if hashes and hash_of_hashes(path) != hashes:
        raise TrackingError(f"{path / HASHES} is not what was logged with {model}; run its pipeline again")
    return str(path)


def check_files(location: str, model: str) -> None:
    """Raise a `TrackingError` if a file of a logged model on this machine is not as its hash says."""
    path = Path(location.removeprefix("file://"))
    if path.is_absolute() and (damage := find_damage(path)):
        raise TrackingError(f"{path / damage} since {model} was logged; run its pipeline again")


def _model_of_run(client: "MlflowClient", run_id: str, name: str | None) -> "LoggedModel":
    """Return the model called `name` (by default `model`) that a run logged, the latest if there are several."""
    run = get_run(client, run_id)
    outputs = sorted(run.outputs.model_outputs, key=lambda output: -output.step) if run.outputs else []
    for output in outputs:
        found = _logged_model(client, output.model_id)
        if found.name == (name or MODEL_NAME):
            return found
    if earlier := run.data.tags.get(CACHED_FROM):
        return _model_of_run(client, earlier, name)
    status = run.info.status.lower()
    raise TrackingError(f"run {run_id} ({status}) has no model {name or MODEL_NAME!r}; {HINT}")


def get_run(client: "MlflowClient", run_id: str, hint: str = HINT) -> "RunEntity":
    """Return a run by its id, or by what it called itself while MLflow was away.

    Raises:
        TrackingError: if it is not there; it ends with `hint`.
    """
    found = unless_absent(lambda: client.get_run(run_id))
    if found is None:
        experiments = [experiment.experiment_id for experiment in every(client.search_experiments)]
        found = next(iter(client.search_runs(experiments, f"tags.`{KEY_TAG}` = '{run_id}'", max_results=1)), None)
    if found is None:
        raise TrackingError(f"there is no run {run_id} in {without_password(client.tracking_uri)}; {hint}")
    return found


def _logged_model(client: "MlflowClient", model_id: str) -> "LoggedModel":
    found = unless_absent(lambda: client.get_logged_model(model_id))
    if found is None:
        raise TrackingError(f"there is no model {model_id} in {without_password(client.tracking_uri)}; {HINT}")
    return found


def get_version(client: "MlflowClient", name: str, version: str) -> "ModelVersion | None":
    """Return a version of a registered model by its number, or the highest for `latest`, or None if it is not there."""
    if version != "latest":
        return unless_absent(lambda: client.get_model_version(name, version))
    return next(iter(versions_of(client, name)), None)


def find_version(
    client: "MlflowClient", name: str, tags: Mapping[str, str], oldest: bool = False
) -> "ModelVersion | None":
    """Return the newest version of a registered model that has all these tags and whose files are there, or None."""
    for version in versions_of(client, name)[:: -1 if oldest else 1]:
        if tags.items() <= version.tags.items() and model_exists(client, name, version.version):
            return version
    return None


def find_logged_model(client: "MlflowClient", experiment_id: str, tags: Mapping[str, str]) -> "LoggedModel | None":
    """Return a model logged in an experiment that has all these tags and whose files are there, or None."""
    wanted = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    found = client.search_logged_models([experiment_id], filter_string=wanted)
    return next((each for each in found if _is_whole(client, each, each.model_id)), None)


def version_source(version: "ModelVersion") -> str:
    """Return the address of the model that a version was made from: `models:/m-...` for one that Gradus logged."""
    model_id = version.tags.get(MODEL_ID_TAG) or version.model_id
    return f"models:/{model_id}" if model_id else str(version.source)


def versions_of(client: "MlflowClient", name: str) -> "list[ModelVersion]":
    """Return all versions of a registered model, the newest first."""
    found = every(client.search_model_versions, f"name = {quoted(name)}")
    return sorted(found, key=lambda version: -int(version.version))


def model_exists(client: "MlflowClient", name: str, version: str) -> bool:
    """Tell whether a registered model has a version (a number, or `latest`) whose files are there, undamaged."""
    found = get_version(client, name, version)
    return found is not None and _is_whole(client, found, f"models:/{name}/{version}")


def _is_whole(client: "MlflowClient", model: "LoggedModel | ModelVersion", address: str) -> bool:
    """Tell whether the files of a model are there, undamaged."""
    try:
        check_files(_place(client, model, address), address)
    except TrackingError:
        return False
    return True


def version_by_alias(client: "MlflowClient", name: str, alias: str) -> "ModelVersion | None":
    """Return the version of a registered model that an alias points to, or None."""
    return unless_absent(lambda: client.get_model_version_by_alias(name, alias))


def unless_absent(look_up: Callable[[], Found]) -> Found | None:
    """Return what `look_up` finds in MLflow, or None if it says that there is no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return look_up()
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise


def download_model_folder(model: str, home: Path, target: Path) -> Path:
    """Copy the saved model inside a logged model into `target`, which must not be there, and return it.

    An adapter alone is merged into its base. It is written beside and renamed, so that `target` is complete or absent.
    For `model.weights=models:/NAME@ALIAS`.

    Raises:
        TrackingError: if there is no such model, it holds no saved one, or its files are damaged.
    """
    location = resolve_model(model, home)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".model-", dir=target.parent) as scratch:
        folder = Path(location)
        if not folder.is_dir():
            from mlflow.artifacts import download_artifacts

            uri = tracking_uri(home)
            with tracking_errors(f"cannot fetch the model {location}"):
                folder = Path(download_artifacts(location, dst_path=scratch, tracking_uri=uri, registry_uri=uri))
        check_files(str(folder.absolute()), model)
        if not (found := find_saved(folder)):
            raise TrackingError(f"{model} holds no model that Gradus saved; {HINT}")
        shutil.copytree(found, Path(scratch) / "copy")
        if is_adapter_alone(found):
            from components.models.saved.whole import make_whole

            make_whole(Path(scratch) / "copy")
        (Path(scratch) / "copy").rename(target)
    return target
