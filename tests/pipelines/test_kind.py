"""What acts on runs of any kind knows none by its name."""

import ast
from pathlib import Path

import pytest

from components.tracking.config import TrackingConfig
from components.tracking.runs import open_run
from pipelines.comparison import compare_runs
from pipelines.kinds import KINDS

PIPELINES = Path(__file__).parents[2] / "pipelines"
ANY_KIND = ("beside", "compared", "comparison", "measured", "promotion", "promotion_evidence", "cli/compare_view")


@pytest.mark.parametrize("module", ANY_KIND)
def test_no_module_that_acts_on_any_kind_names_one(module: str) -> None:
    tree = ast.parse((PIPELINES / f"{module}.py").read_text())
    names = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not names & set(KINDS)
    assert not [name for name in imported if name.startswith("pipelines.kinds")]


def test_a_kind_that_is_not_known_is_refused_in_one_line(tmp_path: Path) -> None:
    tracking = TrackingConfig(experiment="other", system_metrics=False)
    with open_run(tracking, tmp_path, "other", {"pipeline": "dreaming"}) as run:
        pass
    found = compare_runs(run.run_id, run.run_id, tmp_path)
    assert found.refused == f"not compared: run {run.run_id[:8]} is of the pipeline dreaming, which is not known here"


@pytest.mark.parametrize("name", KINDS)
def test_a_run_of_each_kind_without_files_is_shown_with_a_warning(name: str, tmp_path: Path) -> None:
    tracking = TrackingConfig(experiment="kinds", system_metrics=False)
    with open_run(tracking, tmp_path, name, {"pipeline": name}) as run:
        pass
    found = compare_runs(run.run_id, run.run_id, tmp_path)
    assert found.refused is None
    assert "there is nothing to test on" in found.warnings[0]
