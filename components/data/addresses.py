"""Where a file may be: http(s), the disk, an MLflow run, or among the samples; and what it is called there."""

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from components.core.redaction import MASK, has_user
from components.data.hub.config import place_of

SAMPLES = Path(__file__).with_name("samples")
REMOTE = ("http", "https")
RUN_FILE = re.compile(r"runs:/+(?P<run>[0-9a-f]{32})/+(?P<path>[^/].*)")
"""A file that a run logged, as MLflow writes it."""
SCHEMES = (*REMOTE, "file", "sample", "hf", "runs")
LONGEST_NAME = 200  # bytes; file systems allow 255, and temporary names add to it


def scheme_of(url: str) -> str | None:
    """Return the scheme of a URL in lower case, or None for a bare path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://|(runs):/", url)
    return (found[1] or found[2]).lower() if found else None


def find_run_files_with(finder: Callable[[str], Path]) -> None:
    """Let files of runs be brought by a function from their address to a copy; this room knows no MLflow."""
    _finders.append(finder)


def _no_finder(url: str) -> Path:
    raise RuntimeError(f"{url}: nothing that could fetch files of runs was imported")


_finders: list[Callable[[str], Path]] = [_no_finder]


def local_path(url: str) -> Path | None:
    """Return the absolute path of the file that a local `url` means, or None for one on a network.

    A file of a run is brought to this machine.

    Raises:
        TrackingError: if there is no such file of a run.
    """
    scheme = scheme_of(url)
    if scheme in (*REMOTE, "hf"):
        return None
    if scheme == "runs":
        return _finders[-1](url)
    if scheme == "sample":
        return SAMPLES / url.partition("://")[2]
    if scheme == "file":
        return Path(unquote(urlsplit(url).path))
    return Path(url).expanduser().absolute()


def file_name(url: str) -> str | None:
    """Return the decoded file name at the end of a URL or path, or None where it has none that is safe to use."""
    encoded = scheme_of(url) in (*REMOTE, "file")
    name = unquote(urlsplit(url).path.rpartition("/")[2]) if encoded else url.rpartition("/")[2]
    return name if _is_plain_name(name) else None


def is_safe_member(name: str) -> bool:
    """Return whether `name` is a relative path that stays inside the folder it is unpacked into."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and not re.search(r"[\\\0]", name)


def _is_plain_name(name: str) -> bool:
    return name not in ("", ".", "..") and not re.search(r"[/\\\0]", name) and len(name.encode()) <= LONGEST_NAME


def url_problem(url: str) -> str | None:
    """Return what is wrong with the address of a source, or None."""
    scheme = scheme_of(url)
    if scheme is None:
        return None if url.strip() else "the URL is empty"
    if MASK in url:
        return "its secrets were taken out (***) when it was recorded or shown: put them back"
    if scheme not in SCHEMES:
        return (
            f"{url!r} starts with {scheme}://; "
            "use https://, http://, file://, hf://OWNER/NAME, runs:/RUN/FILE, sample://NAME or a path"
        )
    if scheme == "sample":
        name = url.partition("://")[2]
        return None if _is_plain_name(name) else f"{url!r}: sample:// takes the name of a file that Gradus ships"
    if scheme == "hf":
        form = "hf://OWNER/NAME or hf://OWNER/NAME/FILE; split, subset and revision stand in source.hub"
        return None if place_of(url) else f"{url!r} names no data set of the hub; write {form}"
    if scheme == "runs":
        match = RUN_FILE.fullmatch(url)
        return None if match and is_safe_member(match["path"]) else f"{url!r} names no file of a run: runs:/RUN/FILE"
    if scheme in REMOTE and has_user(url):
        # The URL is logged with the run's config, so a password in it would be too.
        return "the URL holds a password; put it into ~/.netrc"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"{url!r}: {error}"
    if scheme == "file":
        local = parts.netloc in ("", "localhost") and parts.path.startswith("/")
        return None if local else f"{url!r}: file:// takes an absolute path: file:///folder/name"
    return f"{url!r} names no host" if not parts.hostname or port == 0 else None
