"""What docs/extending.md adds to Gradus touches as few files as it says, and works, in a copy of the sources."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ROOT, Block, read_page
from tests.patience import PATIENCE

PAGE = ROOT / "docs" / "extending.md"
GRADUS = [sys.executable, "-c", "from pipelines.cli.start import main; main()"]
TINY = ["--set=train.max_steps=4", "--set=tracking.system_metrics=false"]


@dataclass
class Copy:
    """A copy of the sources, with a home of its own, and what was added to it."""

    folder: Path
    new: list[str] = field(default_factory=list)
    changed: dict[str, int] = field(default_factory=dict)
    """By file how many lines are new."""

    def add(self, heading: str) -> None:
        """Write what stands under a heading of the page."""
        for block in read_page(PAGE).blocks:
            if block.heading == heading:
                change = self._change if block.language == "diff" else self._write
                change(block)

    def _write(self, block: Block) -> None:
        name = block.text.partition("\n")[0].removeprefix("# ")
        path = self.folder / name
        assert not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        self.new.append(name)

    def _change(self, block: Block) -> None:
        first, *lines = block.text.splitlines()
        name = first.removeprefix("+++ ")
        before, after = ("".join(f"{line[1:]}\n" for line in lines if line[0] in signs) for signs in (" -", " +"))
        text = (self.folder / name).read_text()
        assert text.count(before) == 1, f"{name} does not hold once\n{before}"
        (self.folder / name).write_text(text.replace(before, after))
        self.changed[name] = self.changed.get(name, 0) + sum(line.startswith("+") for line in lines)

    def gradus(self, *words: str) -> str:
        """Run a command with the copy, and return what it prints."""
        environment = os.environ | {"GRADUS_HOME": f"{self.folder}/home", "PYTHONPATH": str(self.folder)}
        done = subprocess.run(
            [*GRADUS, *words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *words: str) -> dict[str, Any]:
        """Run a pipeline, and return what it left."""
        found: dict[str, Any] = json.loads(self.gradus("run", *words, "--json"))
        return found


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    for name in ("components", "pipelines"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return Copy(tmp_path / "copy")


@pytest.fixture
def served(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands use the session's Prefect server."""
    from prefect.settings import PREFECT_API_URL

    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))


@pytest.mark.ci
@pytest.mark.parametrize(
    ("heading", "new", "lines"),
    [("A data set", 1, []), ("A metric", 0, [1]), ("A judge", 1, [1]), ("A step", 2, [2]), ("A kind", 6, [1, 2])],
)
def test_it_touches_no_more_than_the_page_says(copy: Copy, heading: str, new: int, lines: list[int]) -> None:
    copy.add(heading)
    assert (len(copy.new), list(copy.changed.values())) == (new, lines)
    assert heading != "A kind" or {Path(name).parts[:3] for name in copy.new} == {("pipelines", "kinds", "length")}


@pytest.mark.slow
def test_a_data_set_is_known_by_its_name_and_can_be_checked(copy: Copy) -> None:
    copy.add("A data set")
    assert "task-demo" in copy.gradus("presets")
    assert json.loads(copy.gradus("check", "task-demo", "--json"))["preset"] == "task-demo"


@pytest.mark.slow
def test_a_metric_is_recorded_and_two_runs_can_be_compared_by_it(copy: Copy, served: None) -> None:
    copy.add("A metric")
    first, second = (copy.run("spam-demo", *TINY, f"--set=train.seed={seed}") for seed in (1, 2))
    assert 0 <= first["metrics"]["test/far_off"] <= 1
    told = copy.gradus("compare", first["run_id"], second["run_id"], "--primary", "far_off", "--json")
    assert json.loads(told)["test"]["primary"] == "far_off"


@pytest.mark.slow
def test_a_judge_scores_responses(copy: Copy, served: None) -> None:
    copy.add("A judge")
    found = copy.run("instruct-demo", *TINY, "--set=judge.kind=length")
    assert found["metrics"]["reference/test/score"] == 100
    assert "length, no model" in copy.gradus("judge", found["run_id"], "--set=judge.kind=lexical", "--json")


@pytest.mark.slow
def test_a_step_runs_once_and_is_taken_from_the_store_then(copy: Copy, served: None) -> None:
    copy.add("A step")
    first, again = (copy.run("spam-demo", *TINY) for _ in range(2))
    assert list((copy.folder / "home/store/count_words").glob("*/words.parquet"))
    assert ("count_words" in first["cached_steps"], "count_words" in again["cached_steps"]) == (False, True)


@pytest.mark.slow
def test_a_kind_is_run_and_compared(copy: Copy, served: None) -> None:
    copy.add("A kind")
    assert "length-demo" in copy.gradus("presets")
    first, second = (copy.run("length-demo", f"--set=ridge={ridge}") for ridge in (0, 1e9))
    assert first["metrics"]["test/length_error"] > 0
    told = json.loads(copy.gradus("compare", first["run_id"], second["run_id"], "--json"))
    assert told["refused"] is None
    assert told["test"]["rows"] > 100
    assert told["parameters"]["ridge"] == ["0.0", "1000000000.0"]
