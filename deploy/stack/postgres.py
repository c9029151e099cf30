"""PostgreSQL as the system's packages install it, with a cluster of its own in the service's folder."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from components.core.errors import ConfigError, GradusError
from deploy.stack.settings import DATABASES, HOST, USER, Stack

INSTALLED = Path("/usr/lib/postgresql")
"""Where Debian and its like put a folder a version."""
ACCOUNT = "postgres"
"""Whom the server runs as where root starts it, which it refuses to run as."""


def program(name: str) -> str:
    """Return where a program of PostgreSQL is, of the newest version that is installed.

    Raises:
        ConfigError: if there is none.
    """
    versions = sorted(INSTALLED.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    if found := shutil.which(name) or (versions and str(versions[-1])):
        return str(found)
    raise ConfigError(f"there is no {name}: install PostgreSQL, as in `apt-get install postgresql`")


def account() -> str | None:
    """Return whom it has to run as, if not as who starts it.

    Raises:
        ConfigError: if root starts it and there is nobody else.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(ACCOUNT).pw_name
    except KeyError as error:
        raise ConfigError(f"PostgreSQL refuses to run as root, and there is no user {ACCOUNT}") from error


def make_cluster(stack: Stack) -> None:
    """Make the cluster with its user and databases, unless it is there; what was begun and not finished is made anew.

    Raises:
        ConfigError: if the account that it runs as cannot get at the folder.
        GradusError: if PostgreSQL fails.
    """
    cluster, partial = stack.folder / "postgres", stack.folder / "postgres.partial"
    if cluster.is_dir():
        return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    if user := account():
        stack.folder.chmod(0o711)  # to be walked through, not read
        shutil.chown(partial, user)
        if subprocess.run(["test", "-w", partial], user=user, check=False).returncode:
            raise ConfigError(
                f"PostgreSQL runs as {user}, who cannot get to {stack.folder}: choose a --folder that everybody may "
                "walk into, or do this as somebody else than root"
            )
    _run(
        *(program("initdb"), "--pgdata", str(partial), "--username", USER, "--encoding", "UTF8", "--locale", "C.UTF-8"),
        *("--auth-local", "reject", "--auth-host", "scram-sha-256"),
    )
    quoted = stack.passwords.database.replace("'", "''")
    lines = [f"ALTER USER {USER} PASSWORD '{quoted}';", *(f"CREATE DATABASE {name};" for name in DATABASES)]
    # The server alone, without a port: nobody can come before there is a password, which no command line shows.
    _run(program("postgres"), "--single", "-D", str(partial), "template1", stdin="\n".join(lines) + "\n")
    partial.rename(cluster)


def command(stack: Stack) -> list[str]:
    """Return what runs the server: on the loopback interface, and on no socket in a shared folder."""
    options = {
        "listen_addresses": HOST,
        "port": stack.settings.database_port,
        "unix_socket_directories": "",
        "max_connections": 200,
    }
    words = (word for key, value in options.items() for word in ("-c", f"{key}={value}"))
    return [program("postgres"), "-D", str(stack.folder / "postgres"), *words]


def _run(*words: str, stdin: str = "") -> None:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        words, user=account(), cwd="/", env=environment, input=stdin, text=True, capture_output=True, check=False
    )
    if done.returncode or "ERROR:" in done.stderr:
        raise GradusError(f"{Path(words[0]).name} failed: {(done.stderr or done.stdout).strip()[-1000:]}")
