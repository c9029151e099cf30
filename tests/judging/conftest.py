"""What the tests of judging share: a server, and a judging of tables of responses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from components.judging import asking
from tests.judging.bench import Bench
from tests.judging.serving import OllamaServer, serve
from tests.patience import PATIENCE


@pytest.fixture
def ollama(tmp_path: Path) -> Iterator[OllamaServer]:
    with serve(tmp_path / "ollama") as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A judging that waits for what is under way when something fails, however busy the machine is."""
    monkeypatch.setattr(asking, "GRACE", PATIENCE)
    return Bench(tmp_path)
