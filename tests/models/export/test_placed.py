"""An export is whole or not there, however it ends."""

import signal
from pathlib import Path

import pytest

from components.core.errors import ConfigError
from components.models.export.export import placed


def stopped_by(number: signal.Signals, output: Path) -> None:
    with placed(output) as draft:
        (draft / "file").write_text("half")
        signal.raise_signal(number)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_stopped_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped_by(number, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def come_second(output: Path) -> None:
    with placed(output) as draft:
        (draft / "file").write_text("mine")
        output.mkdir()


@pytest.mark.long
def test_who_comes_second_leaves_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is there already"):
        come_second(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert list((tmp_path / "out").iterdir()) == []
