"""What the command line pays before its work begins, and what it tells Prefect."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LARGE = {"pandas", "numpy", "pyarrow", "torch", "mlflow", "prefect", "great_expectations"}
HEARTBEATS = """
from prefect.settings import get_current_settings
from pipelines.cli.run import heartbeats_if_wanted
with heartbeats_if_wanted():
    print(get_current_settings().flows.heartbeat_frequency)
"""


def said(code: str, **variables: str) -> str:
    """Return what a program prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.ci
def test_a_configuration_is_read_without_large_libraries() -> None:
    modules = said("import sys; from pipelines.config import load_config; load_config('spam', []); print(*sys.modules)")
    assert "pipelines.config" in modules.split()
    assert not LARGE & set(modules.split())


@pytest.mark.ci
@pytest.mark.parametrize(
    ("asked", "sent"),
    [({}, "None"), pytest.param({"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "40"}, "40", marks=pytest.mark.slow)],
)
def test_heartbeats_are_sent_where_they_are_asked_for(asked: dict[str, str], sent: str, tmp_path: Path) -> None:
    assert said(HEARTBEATS, PREFECT_HOME=str(tmp_path), **asked).strip() == sent
