"""Upload an exported model to the Hugging Face hub: in one commit, so that a repository has all of it or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.core.errors import ConfigError, WeightsError, WeightsUnreachable

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


@dataclass(frozen=True)
class Repository:
    """A model's repository."""

    url: str
    private: bool


def check_repository(name: str, public: bool) -> None:
    """Look before anything is done whether a model can be uploaded to a repository, which need not be there.

    Raises:
        ConfigError: if the name is none, nobody is logged in, or the repository is public and `public` is not set.
        WeightsError: if the hub refuses.
        WeightsUnreachable: if it cannot be reached now.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"{name!r} is no name of a repository; write OWNER/NAME") from error
    if get_token() is None:
        raise ConfigError(f"nobody is logged in to the Hugging Face hub: {LOG_IN}")
    with _hub_errors(name):
        try:
            private = HfApi().model_info(name).private
        except RepositoryNotFoundError:
            return
    if not private and not public:
        raise ConfigError(f"the repository {name} is public: give --public to upload there, or another name")


def upload(folder: Path, name: str, public: bool, message: str) -> Repository:
    """Upload the files of a folder to a repository, which is made, private unless `public`, if it is not there.

    Raises:
        WeightsError: if the hub refuses.
        WeightsUnreachable: if it cannot be reached now.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    added = [CommitOperationAdd(file.name, file) for file in sorted(folder.iterdir())]
    with _hub_errors(name):
        found = api.create_repo(name, private=not public, exist_ok=True)
        api.create_commit(found.repo_id, added, commit_message=message)
        return Repository(str(found), bool(api.model_info(found.repo_id).private))


@contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    """Turn what the hub or its library says into one line."""
    from huggingface_hub import errors

    try:
        yield
    except errors.RepositoryNotFoundError as error:
        if _status(error) == 401:
            raise WeightsError(f"the Hugging Face hub does not know the token: {LOG_IN}") from error
        raise
    except errors.HfHubHTTPError as error:
        status = _status(error)
        if status in (401, 403):
            raise WeightsError(f"the Hugging Face hub does not let this token write to {name}: {LOG_IN}") from error
        why = error.server_message or (str(error).splitlines() or [""])[0]
        kind = WeightsError if status and status < 500 else WeightsUnreachable
        raise kind(f"the Hugging Face hub refused {name} ({status}: {why}); nothing was uploaded") from error
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]
        why = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise WeightsUnreachable(
            f"the Hugging Face hub cannot be reached ({why}); connect to the network, and push again"
        ) from error


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)
