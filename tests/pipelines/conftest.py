"""What the tests of pipelines share: databases that are made once, stores, servers, and a finished run's home."""

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from pipelines.run import RunSummary
from tests.judging.serving import OllamaServer, serve
from tests.shared import made_once

ROOT = Path(__file__).parents[2]
BLANK = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=")
"""A PNG file of one pixel."""


@pytest.fixture(autouse=True, scope="session")
def _quick_databases(copied_databases: None) -> None:
    """Every test here opens stores."""


@pytest.fixture(autouse=True)
def _blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are as empty as they can be: the tests of reporting draw them, and the runs that a session shares."""

    def save(figure: object, file: BinaryIO | Path, **how: object) -> None:
        if isinstance(file, Path):
            file.write_bytes(BLANK)
        else:
            file.write(BLANK)

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one MLflow store for the whole module."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A registered model of the test's own."""
    return str(request.node.name).partition("[")[0][-60:]


@pytest.fixture
def environment(prefect_server: None) -> dict[str, str]:
    """What a process is started with: the test's own home, and the session's Prefect server."""
    from prefect.settings import PREFECT_API_URL

    return {**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value()), "PYTHONPATH": str(ROOT), "COLUMNS": "160"}


@pytest.fixture(scope="module")
def ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OllamaServer]:
    """A judge's server for the whole module."""
    with serve(tmp_path_factory.mktemp("ollama")) as server:
        yield server


@pytest.fixture(scope="session")
def finished_home(
    prefect_server: None, copied_databases: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunSummary]:
    """A folder with the home of one finished run of tests.pipelines.classifying: to be copied, not to be used."""
    from tests.pipelines.classifying import run

    return finished_once(tmp_path_factory, "classified", lambda _: run())


@pytest.fixture(scope="session")
def instructed_home(
    prefect_server: None, copied_databases: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunSummary]:
    """A folder with entries, and with a home in which one run of tests.pipelines.instructing has finished on them."""
    from tests.pipelines.instructing import run

    return finished_once(tmp_path_factory, "instructed", run)


def finished_once(
    factory: pytest.TempPathFactory, name: str, run: Callable[[Path], RunSummary]
) -> tuple[Path, RunSummary]:
    """Return a folder of the session, in whose home a run has finished, and the run."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GRADUS_HOME", str(folder / "home"))
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            (folder / "summary.json").write_text(run(folder).model_dump_json())

    folder = made_once(factory, name, make)
    return folder, RunSummary.model_validate_json((folder / "summary.json").read_text())


@pytest.fixture
def instructed(instructed_home: tuple[Path, RunSummary], isolated: Path) -> tuple[Path, RunSummary]:
    """The folder with the entries, and the run on them that has finished in the home of this test."""
    folder, summary = instructed_home
    copy_home(folder / "home", isolated)
    return folder, summary.model_copy(deep=True)


@pytest.fixture
def finished(finished_home: tuple[Path, RunSummary], isolated: Path) -> RunSummary:
    """The run that has finished in the home of this test."""
    folder, summary = finished_home
    copy_home(folder / "home", isolated)
    return summary.model_copy(deep=True)


def copy_home(original: Path, copy: Path) -> None:
    from components.tracking.stores import open_client

    shutil.copytree(original, copy)
    open_client(copy)  # which finds that its home has moved
