"""A hub of the test's own, and the library pointed at it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.hub.hub_server import Hub, hub_of_a_test


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub."""
    with hub_of_a_test(tmp_path, monkeypatch) as running:
        yield running
