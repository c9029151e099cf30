"""What the tests of pipelines share: databases that are made once, and a home in which a run has finished."""

import shutil
from pathlib import Path

import pytest

from pipelines.summary import RunSummary


@pytest.fixture(autouse=True, scope="session")
def _quick_databases(copied_databases: None) -> None:
    """Every test here opens stores."""


@pytest.fixture(scope="session")
def finished_home(
    prefect_server: None, copied_databases: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunSummary]:
    """A home with one finished run of tests.pipelines.classifying: to be copied, not to be used."""
    from tests.pipelines.classifying import run

    home = tmp_path_factory.mktemp("finished") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADUS_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return home, run()


@pytest.fixture
def finished(finished_home: tuple[Path, RunSummary], isolated: Path) -> RunSummary:
    """The run that has finished in the home of this test."""
    from components.tracking.stores import open_client

    original, summary = finished_home
    shutil.copytree(original, isolated)
    open_client(isolated)  # which finds that its home has moved
    return summary.model_copy(deep=True)
