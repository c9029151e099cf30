"""Whether MLflow is away for now, or says no for good."""

from components.core.errors import TrackingError
from components.tracking.stores import SQLITE, one_line, reach

TOO_MUCH_FOR_NOW = {408, 429, 499}
"""Answers of a server that says to come again."""
NOT_ALLOWED = {401, 403}
QUICK = 5.0
"""Seconds within which a store must answer that it is there."""
TWICE = ("IntegrityError", "UNIQUE constraint", "UniqueViolation")
LOCKED = ("database is locked", "database table is locked")


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
    seen = [error]
    while (inner := error.__cause__ or error.__context__) and inner not in seen:  # it may go round in a circle
        seen.append(error := inner)
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
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
