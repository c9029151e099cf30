"""Asking the hub through its own library: tried again where that may help, and each error as one line."""

from collections.abc import Callable
from typing import TypeVar

from components.core.errors import DownloadError, TransientError, cause_of, causes
from components.core.http_client import Transient, retried
from components.data.hub.config import place_of
from components.data.sources import FileSource

Result = TypeVar("Result")


def asked(source: FileSource, ask: Callable[[], Result]) -> Result:
    """Return what the hub's library gives for a source, asked `source.attempts` times if the hub has no answer.

    Raises:
        DownloadError: if the hub refuses.
        TransientError: if it cannot be reached, or fails.
    """
    from huggingface_hub import errors

    place = place_of(source.url)
    name = place.name if place else source.url

    def attempt() -> Result:
        try:
            return ask()
        # The hub's base error is that of httpx or httpx2, whichever its version uses.
        except (errors.HTTPError, OSError, ValueError) as error:  # type: ignore[attr-defined]
            raise _translated(error, name, source.hub.revision) from error

    try:
        return retried(attempt, source.attempts, source.backoff)
    except Transient as error:
        todo = "wait a while" if error.status else "check the network"
        raise TransientError(
            f"{name}: {error}; gave up after attempt {error.attempts}: {todo}, or {in_mirror(name)}"
        ) from error


def in_mirror(name: str) -> str:
    """Return what else to do about a data set that the hub does not give."""
    return f"put its files into a folder {name} and set GRADUS_MIRROR to the folder around that"


def _translated(error: Exception, name: str, revision: str) -> Exception:
    """Return what an error of the hub's library, which may be wrapped in others, means."""
    from huggingface_hub import errors

    among = {kind: each for each in reversed(list(causes(error))) for kind in type(each).__mro__}
    if errors.OfflineModeIsEnabled in among:
        return TransientError(
            f"{name} is not in the hub's cache, and HF_HUB_OFFLINE is set: unset it, or {in_mirror(name)}"
        )
    if errors.GatedRepoError in among:
        return DownloadError(
            f"{name} is gated: accept its terms on its page on the hub, and set HF_TOKEN to your token"
        )
    if errors.RepositoryNotFoundError in among:
        return DownloadError(
            f"{name} is no data set on the hub that you may read; check source.url, and set HF_TOKEN if it is private"
        )
    if errors.RevisionNotFoundError in among:
        return DownloadError(f"{name} has no revision {revision!r}; set source.hub.revision to a branch, tag or commit")
    if answered := among.get(errors.HfHubHTTPError):
        return _refused(name, answered)
    if isinstance(error, ValueError) or errors.FileMetadataError in among:
        return DownloadError(f"{name}: {cause_of(error)}; check source.url, and HF_ENDPOINT if it is set")
    if isinstance(error, OSError) and error.errno and errors.HTTPError not in among:  # type: ignore[attr-defined]
        why = error.strerror or error
        return DownloadError(f"cannot store {name} in the hub's cache: {why}; make room there, or set HF_HOME")
    return Transient(f"the hub cannot be reached ({cause_of(error)})")  # or what it sent ended too early


def _refused(name: str, answered: BaseException) -> Exception:
    response = getattr(answered, "response", None)
    status = int(getattr(response, "status_code", 0))
    if status == 429 or status >= 500:
        return Transient(f"the hub answered {status}", status)
    if status in (401, 403):
        return DownloadError(f"{name}: the hub answered {status}; check that HF_TOKEN is valid and may read data sets")
    return DownloadError(f"{name}: the hub answered {status} ({cause_of(answered)}); check source.url")
