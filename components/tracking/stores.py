"""The MLflow store that runs are recorded in: local SQLite and files, or the server that the environment names.

And whether it is away for now, or says no for good.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from components.core.durable import locked
from components.core.errors import LONGEST_LINE, TrackingError, causes, shortened
from components.core.home import home as gradus_home
from components.core.redaction import MASK, redact_addresses
from components.core.room import describe_full, is_full
from components.tracking.damage import damage_of
from components.tracking.relocation import ARTIFACTS, follow_home

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.entities import PagedList

Found = TypeVar("Found")

DATABASE = "mlflow.db"
SQLITE = "sqlite:///"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow's pages guess what the experiment is about, and open on traces and judges."""
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output belongs to `--json`
    "MLFLOW_UV_AUTO_DETECT": "false",  # or it copies whatever uv.lock the working directory has into every model
    # MLflow would stall for seven minutes and more on a server that is gone. Runs try again by themselves, beside what
    # they do (`components.tracking.outbox.delivery`).
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
"""What Gradus asks of MLflow, unless the user's environment says otherwise."""
REACH_TIMEOUT = 10.0
"""Seconds within which a tracking server must answer when a run is opened."""
TOO_MUCH_FOR_NOW = {408, 429, 499}
"""Answers of a server that says to come again."""
NOT_ALLOWED = {401, 403}
QUICK = 5.0
"""Seconds within which a store must answer that it is there."""
TWICE = ("IntegrityError", "UNIQUE constraint", "UniqueViolation")
LOCKED = ("database is locked", "database table is locked")


def tracking_uri(home: Path) -> str:
    """Return `MLFLOW_TRACKING_URI` if it is set, else the SQLite database `<home>/mlflow.db`, absolute."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local_uri(home)


def local_uri(home: Path) -> str:
    """Return the address of the SQLite database in `home`."""
    return f"{SQLITE}{home.expanduser().absolute() / DATABASE}"


def damage_of_local(home: Path, error: BaseException) -> str | None:
    """Return what is wrong with the database in `home`, where `error` came of it and it is the store."""
    path = home.expanduser().absolute() / DATABASE
    return damage_of(path, error) if tracking_uri(home) == local_uri(home) else None


def shown_store(home: Path) -> str:
    """Return the address of the store without a password; nothing for the one in `home`, which may be moved."""
    uri = tracking_uri(home)
    return "" if uri == local_uri(home) else without_password(uri)


def open_client(home: Path) -> "MlflowClient":
    """Return a client of the store, bound to its address and not to MLflow's process-wide settings.

    Raises:
        TrackingError: if the store cannot be reached or written.
    """
    uri = tracking_uri(home)
    quiet()
    with tracking_errors(f"cannot open the MLflow store {without_password(uri)}"):
        reach(uri, REACH_TIMEOUT)
        from mlflow import MlflowClient

        local = uri == local_uri(home)
        home = home.expanduser().absolute()
        # Two processes that create the same database's tables at once would break both.
        with locked(home / f".{DATABASE}.lock") if local else nullcontext():
            if local:
                _make_database(home / DATABASE)
            client = MlflowClient(uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri)
            client.search_experiments(max_results=1)  # creates the tables of a new database, if nothing did before
            if local:
                follow_home(home, home / DATABASE)
        return client


def _make_database(path: Path) -> None:
    """Make a new database beside its place, if there is none: who is killed meanwhile leaves no half of one."""
    from mlflow import MlflowClient

    for left in path.parent.glob(f".{path.name}-*"):  # a draft and its journal
        left.unlink()
    if path.exists() and path.stat().st_size:
        return
    draft = path.with_name(f".{path.name}-new")
    MlflowClient(f"sqlite:///{draft}", registry_uri=f"sqlite:///{draft}").search_experiments(max_results=1)
    draft.replace(path)


def connect(home: Path, experiment: str) -> "tuple[MlflowClient, str]":
    """Return a client and the id of `experiment`, which is created when it is not there.

    The local store keeps artifacts in `<home>/artifacts`; a server keeps them where it is configured to.

    Raises:
        TrackingError: if the store cannot be reached or written, or the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    client = open_client(home)
    with tracking_errors(f"cannot open the MLflow experiment {experiment!r}"):
        found = client.get_experiment_by_name(experiment)
        if found is None:
            local = str(home.expanduser().absolute() / ARTIFACTS) if client.tracking_uri == local_uri(home) else None
            try:
                return client, client.create_experiment(experiment, local, EXPERIMENT_TAGS)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # or another process was first
                    raise
            found = client.get_experiment_by_name(experiment)
    if found is None or found.lifecycle_stage != "active":
        raise TrackingError(
            f"the MLflow experiment {experiment!r} was deleted: restore it with `mlflow experiments restore`, "
            "or set tracking.experiment to another name"
        )
    return client, str(found.experiment_id)


def reach(uri: str, timeout: float) -> None:
    """Fail within seconds where MLflow itself would retry for minutes.

    Raises:
        OSError: if the folder of a SQLite database cannot be written, or a server does not answer.
    """
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    elif uri.startswith(("http://", "https://")):
        import requests

        # Any answer will do: MLflow does the authentication, and whether a certificate is accepted is its setting.
        with suppress(requests.exceptions.SSLError):
            requests.head(uri, timeout=timeout)


@contextmanager
def tracking_errors(doing: str) -> Iterator[None]:
    """Turn errors of MLflow, its database and its server into a `TrackingError` of one line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, UnicodeDecodeError, OSError) as error:
        if damage := damage_of_local(gradus_home(), error):
            raise TrackingError(f"{doing}: {damage}") from error
        if is_full(error):
            raise TrackingError(f"{doing}: {describe_full(error, gradus_home())}") from error
        reason = one_line(error.strerror or error) if isinstance(error, OSError) else one_line(error)
        asked = getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE"
        advice = "correct what is asked for" if asked else "check MLFLOW_TRACKING_URI and GRADUS_HOME"
        raise TrackingError(f"{doing}: {reason}; {advice}") from error


def every(search: "Callable[..., PagedList[Found]]", *what: Any) -> "Iterator[Found]":
    """Yield what a search of MLflow's client finds, however many pages it comes on."""
    token = None
    while token is None or token:
        page = search(*what, page_token=token)
        yield from page
        token = page.token or ""


def quoted(text: str) -> str:
    """Return a text as MLflow's filters take it; they know no way to write one that has quotes of both kinds."""
    return f'"{text}"' if "'" in text else f"'{text}'"


def one_line(error: object, limit: int = LONGEST_LINE) -> str:
    """Return the text of an error on one line of at most `limit` characters: its beginning and its end."""
    return shortened(" ".join(str(error).split()), limit)


def without_password(uri: str) -> str:
    """Return an address as it is shown: without user and password, and without the values of its query."""
    return redact_addresses(uri).replace(f"//{MASK}@", "//")


def quiet() -> None:
    """Keep MLflow's and alembic's progress messages and addresses off the terminal, and its telemetry at home.

    What the user has set in the environment is left as it is. Warnings and errors still show.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"  # read when MLflow is imported
        for name in ("mlflow", "alembic"):  # in case it was imported before
            logging.getLogger(name).setLevel(logging.WARNING)
    # What they say of a store that is away or has no room is said by us, in one line.
    for name in ("mlflow.store.db.utils", "mlflow.utils.rest_utils", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class StoreAway(TrackingError):
    """MLflow does not answer, or not now: what was to be written waits."""


def why_away(uri: str) -> str | None:
    """Ask whether a store answers at all, for a few seconds; return the reason if it does not.

    Of a database it says nothing that waiting for a lock would not: whoever sends may hold that lock itself.
    """
    try:
        reach(uri, QUICK)
    except OSError as error:
        return root_of(error)
    return None


def is_lost_race(error: BaseException) -> bool:
    """Tell whether two runs wrote the same new row at once (a data set that both use), and this one was second."""
    return any(words in str(error) for words in TWICE)


def root_of(error: BaseException, limit: int = 200) -> str:
    """Return the text of the error that one came from in the end, on one line: `Connection refused` and its like."""
    *_, root = causes(error)
    text = getattr(root, "strerror", None) or str(root) or type(root).__name__
    return one_line(text, limit)


def is_outage(error: BaseException, uri: str, opened: bool) -> bool:
    """Tell whether what MLflow raised may be gone a little later, with nothing changed by the user.

    Args:
        error: of MLflow, its database, its server, or the library of an artifact store; or a `TrackingError` that was
            made from one.
        uri: the address of the store.
        opened: whether the store has taken something from this run before: rights that are lost later may come back.
    """
    from mlflow.exceptions import InvalidUrlException, MlflowException, RestException
    from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema, RequestException

    if isinstance(error, TrackingError):
        return error.__cause__ is not None and is_outage(error.__cause__, uri, opened)
    if uri.startswith(SQLITE):
        return any(words in str(error) for words in LOCKED)
    if isinstance(error, (InvalidUrlException, InvalidSchema, InvalidURL, MissingSchema)):
        return False
    if isinstance(error, RestException) and "error_code" not in error.json:
        return opened  # an answer, but not of an MLflow server
    if isinstance(error, MlflowException):
        return _may_pass(int(error.get_http_status_code()), opened)  # type: ignore[no-untyped-call]
    if isinstance(error, RequestException):
        return error.response is None or _may_pass(error.response.status_code, opened)
    if isinstance(error, OSError):
        return isinstance(error, (ConnectionError, TimeoutError))
    # Libraries of artifact stores have errors of their own; a mistake in this code is none of the store's.
    return not isinstance(error, (TypeError, ValueError, LookupError, AttributeError))


def _may_pass(status: int, opened: bool) -> bool:
    return status >= 500 or status in TOO_MUCH_FOR_NOW or (opened and status in NOT_ALLOWED)
