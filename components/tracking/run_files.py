"""Files that runs have logged, brought to this machine."""

import tempfile
from pathlib import Path

from components.core.errors import TrackingError
from components.tracking.reading import find_run
from components.tracking.stores import open_client, tracking_errors

RUN_FILES = Path("downloads", "runs")
"""Folder under the home that keeps them."""


def run_file(address: str, home: Path) -> Path:
    """Return a copy of a file that a run logged; it is fetched once, and there whole or not at all.

    Args:
        address: `runs:/RUN/PATH`, PATH below the run's artifacts.
        home: the folder of the local store, and of the copies.

    Raises:
        TrackingError: if there is no such run or file, or the store cannot be read.
    """
    run_id, _, path = address.removeprefix("runs:").lstrip("/").partition("/")
    if ".." in Path(path).parts:
        raise TrackingError(f"{address} names no file of a run: a path of its artifacts does not lead out of them")
    kept = home / RUN_FILES / run_id / path
    if kept.is_file():
        return kept
    client, run = open_client(home), find_run(run_id, home)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".fetch-", dir=kept.parent) as folder,
        tracking_errors(f"cannot fetch {address}"),
    ):
        fetched = Path(client.download_artifacts(run.run_id, path, folder))
        if not fetched.is_file():
            raise TrackingError(f"{address} is no file, but a folder")
        return fetched.replace(kept)
