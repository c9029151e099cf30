"""Whether the local MLflow database is damaged: what to say then instead of what its libraries say."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from components.core.errors import causes

NOT_WHOLE = re.compile(r"no such (?:table|column): [\w.]+")


def damage_of(database: Path, error: BaseException) -> str | None:
    """Return the line about a database that cannot be read or is half made, None if it is whole or not there.

    Asked for where something has failed with `error`: where that came of a database, the whole file is read.
    """
    if not any(isinstance(each, sqlite3.Error | UnicodeDecodeError) for each in causes(error)):
        return None
    missing = NOT_WHOLE.search(str(error))
    reason = missing[0] if missing else _reason(database)
    if reason is None:
        return None
    return (
        f"{database} is damaged ({reason}): put a copy of it back, or move it away and run again, which makes a new "
        "one without its runs and registered models; what finished steps have written is in "
        f"{database.parent / 'store'}, whole, and is taken from there"
    )


def _reason(database: Path) -> str | None:
    if not database.is_file() or not database.stat().st_size:
        return None
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=0)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            return None if found == "ok" else " ".join(str(found).split())
    except sqlite3.OperationalError:  # locked, or another's
        return None
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return str(error)
