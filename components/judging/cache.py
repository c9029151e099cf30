"""Verdicts that were made, in a SQLite file: committed as they arrive, and never asked for again.

Write-ahead logging lets several processes read and write at once, and a process that is killed loses nothing that it
had committed. After a loss of power the last few may be missing; they are asked for again.
"""

import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from components.core.durable import locked
from components.core.errors import JudgeError
from components.core.home import home
from components.judging.verdicts import Verdict

PATIENCE = 60.0  # seconds to wait for another process to commit
KEYS = "(SELECT value FROM json_each(?))"
"""Those of a JSON list."""

TABLES = """
CREATE TABLE IF NOT EXISTS verdicts (
    key TEXT PRIMARY KEY, score REAL, reason TEXT NOT NULL, reply TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, score REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS judges (judge TEXT PRIMARY KEY, digest TEXT) WITHOUT ROWID;
"""
COLUMNS = {
    "thinking": "TEXT NOT NULL DEFAULT ''",
    "finish_reason": "TEXT",
    "refusal": "TEXT NOT NULL DEFAULT ''",
    "prompt_tokens": "INTEGER",
    "requests": "INTEGER",
    "tokens_in": "INTEGER",
    "tokens_out": "INTEGER",
    "estimated": "INTEGER",
}
"""Columns that `verdicts` got later, added to a file that has them not."""
FIELDS = ("score", "reason", "reply", *COLUMNS)

logger = logging.getLogger(__name__)


def verdicts_path(folder: Path | None = None) -> Path:
    """Return where verdicts are kept: in `folder`, by default Gradus' home."""
    return (folder or home()) / "verdicts.sqlite"


class Cache:
    """The verdicts in a file, by key, and the digests that judges had. For use from any thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, or begin it. One that is no database any more is set aside with a warning.

        Raises:
            JudgeError: if the file cannot be opened or written.
        """
        self._path = path
        self._lock = threading.Lock()
        try:
            self._connection = _open(path)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._connection.close()

    def find(self, keys: Iterable[str]) -> dict[str, Verdict]:
        """Return the verdicts that there are, by key."""
        rows = self._run(f"SELECT key, {', '.join(FIELDS)} FROM verdicts WHERE key IN {KEYS}", json.dumps([*keys]))
        return {key: Verdict(*fields) for key, *fields in rows}

    def count(self) -> int:
        """Return how many verdicts there are."""
        [(verdicts,)] = self._run("SELECT count(*) FROM verdicts")
        return int(verdicts)

    def keep(self, verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
        """Commit verdicts by key, and return those that are kept: another process may have been first."""
        rows = [(key, *(getattr(verdict, name) for name in FIELDS)) for key, verdict in verdicts.items()]
        places = ", ".join("?" * (len(FIELDS) + 1))
        with self._used() as connection:
            connection.executemany(f"INSERT OR IGNORE INTO verdicts (key, {', '.join(FIELDS)}) VALUES ({places})", rows)
        return self.find(verdicts)

    def forget(self, keys: Iterable[str]) -> None:
        """Forget verdicts, so that they are asked for anew."""
        with self._used() as connection:
            connection.executemany("DELETE FROM verdicts WHERE key = ?", [(key,) for key in keys])

    def find_scores(self, keys: Iterable[str]) -> dict[str, float]:
        """Return the scores that there are of texts that were compared, by key."""
        return dict(self._run(f"SELECT key, score FROM scores WHERE key IN {KEYS}", json.dumps([*keys])))

    def keep_scores(self, scores: Mapping[str, float]) -> None:
        """Commit the scores of texts that were compared."""
        with self._used() as connection:
            connection.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?)", scores.items())

    def remember(self, judge: str, digest: str | None) -> None:
        """Keep the digest that a judge has now, for when its server cannot be asked."""
        self._run("INSERT OR REPLACE INTO judges VALUES (?, ?)", judge, digest)

    def remembered(self, judge: str) -> list[str | None]:
        """Return the digest that a judge had when it was last asked, in a list, or an empty list."""
        return [digest for (digest,) in self._run("SELECT digest FROM judges WHERE judge = ?", judge)]

    def _run(self, statement: str, *values: str | None) -> list[tuple[Any, ...]]:
        with self._used() as connection:
            return connection.execute(statement, values).fetchall()

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread at a time, and commit what it does."""
        try:
            with self._lock, self._connection:
                yield self._connection
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> JudgeError:
        return JudgeError(
            f"cannot keep verdicts in {self._path}: {error}; make room there, or set GRADUS_HOME to a folder you can "
            "write"
        )


def _open(path: Path) -> sqlite3.Connection:
    # One process at a time: of two that find the file damaged, the second must not set the new one aside.
    with locked(path.with_name(f".{path.name}.lock")):
        try:
            return _connect(path)
        except sqlite3.OperationalError:
            raise  # locked, full, not writable: the file itself may be whole
        except sqlite3.DatabaseError as error:
            aside = _set_aside(path)
            logger.warning("%s is damaged (%s); it is now %s, and verdicts are asked for anew", path, error, aside.name)
            return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)
        connection.executescript(TABLES)
        there = {row[1] for row in connection.execute("PRAGMA table_info(verdicts)")}
        for name in COLUMNS.keys() - there:
            connection.execute(f"ALTER TABLE verdicts ADD COLUMN {name} {COLUMNS[name]}")
    except BaseException:
        connection.close()
        raise
    return connection


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
