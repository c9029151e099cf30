"""The local MLflow database that is made while a run still imports."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.cli.database import make_database_ahead


def test_a_new_database_is_made_whole_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADUS_HOME", str(tmp_path / "new"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    process = make_database_ahead()
    assert process
    assert process.wait() == 0
    with closing(sqlite3.connect(tmp_path / "new/mlflow.db")) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"experiments", "runs", "logged_models", "alembic_version"} <= tables
    assert make_database_ahead() is None


def test_another_store_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADUS_HOME", str(tmp_path / "new"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert make_database_ahead() is None
    assert not (tmp_path / "new").exists()
