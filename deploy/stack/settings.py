"""What a service on this machine is made of: its folder, ports, workers and passwords."""

import os
import secrets
from pathlib import Path
from typing import Self
from urllib.parse import quote

from pydantic import BaseModel, Field

from components.core.errors import ConfigError

HOST = "127.0.0.1"
USER = "gradus"
"""Of PostgreSQL, of Prefect's server and of MLflow's."""
POOL = "gradus"
DATABASES = ("prefect", "mlflow", "mlflow_auth")
SHORTEST = 12
"""Characters of a password: MLflow takes none below."""
MARK = "GRADUS_SERVICE"
"""Environment variable of all that is started: the folder."""


class Settings(BaseModel):
    """What `deploy/local up` takes, and what the next one keeps."""

    workers: int = Field(default=2, ge=1)
    prefect_port: int = 4200
    mlflow_port: int = 5000
    database_port: int = 5433

    @property
    def ports(self) -> dict[str, int]:
        """What listens where."""
        return {"postgres": self.database_port, "prefect": self.prefect_port, "mlflow": self.mlflow_port}


class Secrets(BaseModel):
    """The passwords, and what MLflow signs its pages' forms with."""

    database: str
    prefect: str
    mlflow: str
    session: str

    @classmethod
    def make(cls) -> Self:
        """Return what `GRADUS_DATABASE_PASSWORD` and the like say, or new ones.

        Raises:
            ConfigError: if one is too short.
        """
        found = {}
        for name in cls.model_fields:
            variable = f"GRADUS_{name.upper()}_PASSWORD"
            found[name] = os.environ.get(variable) or secrets.token_urlsafe(24)
            if len(found[name]) < SHORTEST:
                raise ConfigError(f"{variable} has fewer than {SHORTEST} characters")
        return cls(**found)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600, exist_ok=False)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


class Stack:
    """A service in a folder: what was decided about it, and where its parts are."""

    def __init__(self, folder: Path, settings: Settings, passwords: Secrets) -> None:
        self.folder, self.settings, self.passwords = folder, settings, passwords

    @classmethod
    def make(cls, folder: Path, changes: dict[str, int]) -> Self:
        """Return the service of a folder, made if there is none, with settings changed.

        Raises:
            ConfigError: if passwords of the environment cannot be used.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = cls.find(folder)
        settings = (kept.settings if kept else Settings()).model_copy(update=changes)
        passwords = kept.passwords if kept else Secrets.make()
        if not kept:
            write_private(folder / "secrets.json", passwords.model_dump_json(indent=2))
        return cls(folder, settings, passwords)

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """Return the service of a folder, if there is one."""
        if not (folder / "secrets.json").is_file():
            return None
        kept = folder / "settings.json"
        settings = Settings.model_validate_json(kept.read_text()) if kept.is_file() else Settings()
        return cls(folder, settings, Secrets.model_validate_json((folder / "secrets.json").read_text()))

    def keep_settings(self) -> None:
        """Let the next `up` have the same settings."""
        write_private(self.folder / "settings.json", self.settings.model_dump_json(indent=2))

    @property
    def logs(self) -> Path:
        """Where everything says what it does."""
        return self.folder / "logs"

    @property
    def prefect(self) -> str:
        """Prefect's address."""
        return f"http://{HOST}:{self.settings.prefect_port}"

    @property
    def mlflow(self) -> str:
        """MLflow's address."""
        return f"http://{HOST}:{self.settings.mlflow_port}"

    def database(self, name: str, driver: str = "postgresql") -> str:
        """Return the address of a database, with its password."""
        password = quote(self.passwords.database, safe="")
        return f"{driver}://{USER}:{password}@{HOST}:{self.settings.database_port}/{name}"

    def client_environment(self) -> dict[str, str]:
        """Return what a shell or a worker needs to talk to the service."""
        return {
            "PREFECT_API_URL": f"{self.prefect}/api",
            "PREFECT_API_AUTH_STRING": f"{USER}:{self.passwords.prefect}",
            "MLFLOW_TRACKING_URI": self.mlflow,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": self.passwords.mlflow,
        }
