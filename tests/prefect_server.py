"""One Prefect server for all processes of a test session.

Most of the twenty seconds that one takes to start are migrations of an empty database and imports. So the first process
that needs one starts it, all others use it, and it ends when the last of them has: each holds a lock that all can share
(`USERS`) as long as it lives, which the server waits for to have alone. That works after a `kill -9` too.
"""

import asyncio
import fcntl
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from filelock import FileLock

from tests.patience import eventually
from tests.shared import copy_database

USERS, ADDRESS, DATABASE = "users", "address", "prefect.db"
LOOPBACK = "127.0.0.1"


def address_of_server(folder: Path, migrated: Path) -> str:
    """Return the address of the API of the server that runs in a folder; start it where none does.

    Args:
        folder: where the server's database is, and what its users tell each other.
        migrated: a database without anything in it, which is copied; made where there is none.
    """
    folder.mkdir(exist_ok=True)
    # Not closed: the lock is held until this process ends, after what Prefect still sends when it does.
    users = os.open(folder / USERS, os.O_CREAT | os.O_RDWR)
    fcntl.flock(users, fcntl.LOCK_SH)
    address = folder / ADDRESS
    with FileLock(folder / "starting.lock"):
        if not address.exists():
            process = start(folder, migrated)
            eventually(lambda: address.exists() or process.poll() is not None)
            assert address.exists(), f"Prefect's server ended with {process.returncode}; standard error says why"
    return address.read_text()


def start(folder: Path, migrated: Path) -> subprocess.Popen[bytes]:
    from pipelines.cli.prefect_server.temporary import QUIET

    environment = {
        **os.environ,
        **QUIET,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / DATABASE}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [sys.executable, "-m", "tests.prefect_server", str(folder), str(migrated)]
    return subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[1], start_new_session=True)


def main(folder: Path, migrated: Path) -> None:
    """Serve until nobody uses it any more."""
    import uvicorn
    from prefect.server.api.server import create_app

    take_database(folder / DATABASE, migrated)
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        server = uvicorn.Server(uvicorn.Config(create_app(), lifespan="on", log_level="error"))
        address = f"http://{LOOPBACK}:{bound.getsockname()[1]}/api"
        threading.Thread(target=attend, args=(server, folder, address), daemon=True).start()
        server.run(sockets=[bound])


def take_database(database: Path, migrated: Path) -> None:
    """Copy the database that holds nothing, or make it, by Prefect's migrations."""
    from prefect.server.database import provide_database_interface

    if migrated.exists():
        copy_database(migrated, database)
    else:
        asyncio.run(provide_database_interface().create_db())
        draft = migrated.with_suffix(f".{os.getpid()}")
        copy_database(database, draft)
        draft.replace(migrated)


def attend(server: Any, folder: Path, address: str) -> None:
    """Tell users where the server is as soon as it answers, and end it when there are none: the folder may be gone."""
    users = os.open(folder / USERS, os.O_RDWR)  # not closed either: a new user waits until this process has ended
    eventually(lambda: server.started)
    told = folder / "address.part"
    told.write_text(address)
    told.rename(folder / ADDRESS)
    fcntl.flock(users, fcntl.LOCK_EX)
    (folder / ADDRESS).unlink(missing_ok=True)
    server.should_exit = True


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
