"""A home that was copied or moved: MLflow's database in it follows, since MLflow writes absolute paths into it."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from components.tracking.names import OUTBOX_TAG

MARKER = ".home"
"""The file of a home that holds the path which the home had when its database was last right."""
ARTIFACTS = "artifacts"
OUTBOX = "outbox"
"""Folder under the home in which runs keep what MLflow has not got yet."""
PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("tags", "value"),
)
"""Tables and columns of MLflow's database that hold where files are."""

WRITTEN_TO = {"experiments", "tags"}
"""Tables whose paths are where something will be put or sent from: never in the old home."""

log = logging.getLogger(__name__)


def follow_home(home: Path, database: Path) -> None:
    """Let the database of a home that was copied or moved say where its files are now; nothing is done to the old one.

    Paths that do not lie in the artifacts of the old home stay, and so do those of files that only the old home has.

    Args:
        home: the home, absolute; who asks holds its lock.
        database: MLflow's SQLite database in it, which has its tables.

    Raises:
        OSError: if the home cannot be written.
        sqlite3.Error: if the database cannot be written; then all of it is as before.
    """
    marker = home / MARKER
    old = marker.read_text(encoding="utf-8") if marker.is_file() else None
    if old == str(home):
        return
    rewritten = 0
    # Two paths may lead to the same home, of which one is a link.
    if old and not (Path(old).exists() and Path(old).samefile(home)):
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            rewritten = _rewrite(connection, old, home)
            connection.commit()
    marker.write_text(str(home), encoding="utf-8")
    if rewritten:
        log.warning("this home was copied or moved from %s to %s: MLflow's paths in it follow", old, home)


def _rewrite(connection: sqlite3.Connection, old: str, home: Path) -> int:
    """Rewrite the paths below the folders of an old home, and return how many there were."""
    rewritten = 0
    for table, column in PATHS:
        condition = f"key = '{OUTBOX_TAG}'" if table == "tags" else f"{column} IS NOT NULL"
        for row, path in connection.execute(f"SELECT rowid, {column} FROM {table} WHERE {condition}").fetchall():
            if not any(Path(path).is_relative_to(Path(old) / folder) for folder in (ARTIFACTS, OUTBOX)):
                continue
            new = home / Path(path).relative_to(old)
            if table in WRITTEN_TO or new.exists() or not Path(path).exists():
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (str(new), row))
                rewritten += 1
    return rewritten
