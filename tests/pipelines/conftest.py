"""What the tests of pipelines share: databases that are made once, and a home in which a run has finished."""

import shutil
from pathlib import Path

import pytest

from pipelines.run import RunSummary


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


@pytest.fixture(scope="session")
def instructed_home(
    prefect_server: None, copied_databases: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunSummary]:
    """A folder with entries, and with a home in which one run of tests.pipelines.instructing has finished on them."""
    from tests.pipelines.instructing import run

    folder = tmp_path_factory.mktemp("instructed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADUS_HOME", str(folder / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return folder, run(folder)


@pytest.fixture
def instructed(instructed_home: tuple[Path, RunSummary], isolated: Path) -> tuple[Path, RunSummary]:
    """The folder with the entries, and the run on them that has finished in the home of this test."""
    folder, summary = instructed_home
    copy_home(folder / "home", isolated)
    return folder, summary.model_copy(deep=True)


@pytest.fixture
def finished(finished_home: tuple[Path, RunSummary], isolated: Path) -> RunSummary:
    """The run that has finished in the home of this test."""
    original, summary = finished_home
    copy_home(original, isolated)
    return summary.model_copy(deep=True)


def copy_home(original: Path, copy: Path) -> None:
    from components.tracking.stores import open_client

    shutil.copytree(original, copy)
    open_client(copy)  # which finds that its home has moved
