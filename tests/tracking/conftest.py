"""What the tests of tracking share: one store, as creating its tables takes seconds."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a local MLflow store in it; its name has a blank on purpose."""
    return tmp_path_factory.mktemp("a home")


@pytest.fixture(autouse=True, scope="session")
def _quick_databases(copied_databases: None) -> None:
    """Every test here opens stores."""
