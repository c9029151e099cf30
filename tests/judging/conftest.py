"""What the tests of judging share: a server, and a judging of tables of responses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.judging.bench import Bench
from tests.judging.serving import OllamaServer, serve


@pytest.fixture
def ollama(tmp_path: Path) -> Iterator[OllamaServer]:
    with serve(tmp_path / "ollama") as server:
        yield server


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
