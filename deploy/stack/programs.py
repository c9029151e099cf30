"""What supervisord keeps up, in the order in which it is started."""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from deploy.stack import postgres
from deploy.stack.settings import HOST, MARK, POOL, USER, Stack

STOPPING = 60
"""Seconds that a program gets to stop by itself."""


@dataclass(frozen=True)
class Program:
    """One of its programs."""

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    signal: str = "TERM"


def programs(stack: Stack) -> Iterator[Program]:
    """Yield the servers, and then the workers."""
    yield Program(
        "postgres", postgres.command(stack), user=postgres.account(), signal="INT"
    )  # does not wait for clients
    yield Program("prefect", _python("prefect server start"), _prefect(stack))
    serving = f"mlflow server --host {HOST} --port {stack.settings.mlflow_port} --app-name basic-auth --workers 1"
    kept = ["--serve-artifacts", "--artifacts-destination", str(stack.folder / "artifacts")]
    yield Program("mlflow", [*_python(serving), *kept], _mlflow(stack))
    for number in range(1, stack.settings.workers + 1):
        name = f"worker-{number}"
        start = f"prefect worker start --pool {POOL} --name {name} --limit 1"
        yield Program(name, _python(start), _worker(stack, stack.folder / name))


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", *module.split()]


def _prefect(stack: Stack) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(stack.folder / "prefect"),
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(stack.settings.prefect_port),
        "PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{stack.passwords.prefect}",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": stack.database("prefect", "postgresql+asyncpg"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # By itself it has them in memory, and stops every run of a limited deployment some minutes after its restart.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }


def _mlflow(stack: Stack) -> dict[str, str]:
    return {
        "MLFLOW_BACKEND_STORE_URI": stack.database("mlflow"),
        "MLFLOW_AUTH_CONFIG_PATH": str(stack.folder / "mlflow.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": stack.passwords.mlflow,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": stack.passwords.session,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # four processes for what nobody asks for here
    }


def _worker(stack: Stack, home: Path) -> dict[str, str]:
    return {
        **stack.client_environment(),
        "GRADUS_HOME": str(home),
        "GRADUS_STORE_REMOTE": str(stack.folder / "store"),  # one worker goes on with what the other has begun
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }


def mlflow_users(stack: Stack) -> str:
    """Return the file that says where MLflow keeps its users, and what they may do: nothing that they are not given."""
    file = RawConfigParser()
    file["mlflow"] = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": _escaped(stack.database("mlflow_auth")),
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        # Every request would hash the password anew, which takes longer than most of them.
        "auth_cache_ttl_seconds": "60",
    }
    return _text(file)


def supervisor_file(stack: Stack) -> str:
    """Return the file that supervisord reads."""
    file = RawConfigParser()
    folder = stack.folder
    everywhere = {
        MARK: str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONUNBUFFERED": "1",
    }
    file["supervisord"] = {
        "logfile": str(stack.logs / "supervisord.log"),
        "pidfile": str(folder / "supervisord.pid"),
        "umask": "077",
        **({"user": "root"} if os.geteuid() == 0 else {}),  # it warns where nothing is said
    }
    file["unix_http_server"] = {"file": str(socket(stack)), "chmod": "0700"}
    file["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for number, program in enumerate(programs(stack)):
        environment = everywhere | dict(program.environment)
        file[f"program:{program.name}"] = {
            "command": _escaped(shlex.join(program.command), quotes=False),
            "environment": ",".join(f'{key}="{_escaped(value)}"' for key, value in environment.items()),
            "directory": "/" if program.user else str(folder),
            "autostart": "false",
            "autorestart": "true",
            "priority": str(number),  # they are stopped the other way round
            "stopsignal": program.signal,
            "stopwaitsecs": str(STOPPING),
            "stopasgroup": "false",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": str(stack.logs / f"{program.name}.log"),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "3",
            **({"user": program.user} if program.user else {}),
        }
    return _text(file)


def socket(stack: Stack) -> Path:
    """Return where supervisord listens."""
    return stack.folder / "supervisor.sock"


def _escaped(value: str, quotes: bool = True) -> str:
    value = value.replace("%", "%%")
    return value.replace('"', '\\"') if quotes else value


def _text(file: RawConfigParser) -> str:
    text = StringIO()
    file.write(text)
    return text.getvalue()
