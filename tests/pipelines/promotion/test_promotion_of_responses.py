"""Which language models are promoted, where the champion has to be run, and by whose scores."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from components.core.errors import PromotionRefused
from components.data.split.row_index import index_instructions
from components.learned import LEARNED, write_learned
from components.tracking.registry.lineage import log_lineage
from components.tracking.registry.packages import language_model_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import attached
from pipelines.promoting.promote import promote
from tests.judging.serving import OllamaServer, serve
from tests.pipelines.answered_runs import ROWS, answered_run, entries
from tests.pipelines.commands import compare_runs

Make = Callable[..., str]


@pytest.fixture
def make(home: Path, saved_language_model: Path, name: str, tmp_path: Path) -> Make:
    """A function that makes a run which errs on its first `wrong` of 120 test rows, and has learned from some rows."""
    numbers = itertools.count()

    def made(wrong: int, train: range = range(9000, 9010), weights: str = "random", **more: Any) -> str:
        run_id = answered_run(home, tmp_path / str(next(numbers)), wrong, model={"weights": weights}, **more)
        entries(len(train), train.start).to_parquet(tmp_path / "train.parquet", index=False)
        write_learned(index_instructions(tmp_path / "train.parquet").folded, tmp_path / LEARNED)
        with attached(run_id, home) as run:
            run.log_file(tmp_path / LEARNED)
            log_lineage(run, weights, home)
            log_package(run, language_model_package(saved_language_model, [{"instruction": "Say", "input": ""}]), name)
        return run_id

    return made


@pytest.mark.ci
def test_a_champion_that_answered_other_rows_is_run_on_the_candidates(home: Path, make: Make) -> None:
    promote(make(20), home)
    # Ten rows are common; on the other 110 the champion says what its untrained network does.
    learned = make(0, train=range(1, 41), first=111)
    done = promote(learned, home)
    assert (done.measured[0].rows, done.measured[0].candidate) == (ROWS, 100)
    assert done.measured[0].reference < 30
    assert "120 test rows of the new model, which the champion (version 1) was run on, " in done.sentence
    few = r"cannot be compared with the champion, version 2: 80 of the 120 test rows of the new model are left"
    with pytest.raises(PromotionRefused, match=few):
        promote(make(0, first=1), home)


@pytest.mark.slow
def test_a_judge_that_is_away_leaves_the_champion_unmeasured(home: Path, make: Make, tmp_path: Path, name: str) -> None:
    with serve(tmp_path / "ollama") as server:
        asked = {"kind": "ollama", "url": server.url, "backoff": 0.01, "attempts": 1, "timeout": 600}
        promote(make(20, judge=asked), home)
        done = promote(make(0, judge=asked, first=1001), home)
        assert "was run on, " in done.sentence
        assert "was not checked" not in done.sentence, "the runs have asked the judge on purpose"
        last = make(0, judge=asked, first=2001)
    with pytest.raises(
        PromotionRefused, match=r"the champion \(version 2\) cannot be judged on the new model's test row"
    ):
        promote(last, home)
    assert promote(last, home, force=True, reason="the judge is gone").forced


@pytest.mark.ci
def test_a_judge_that_cannot_tell_promotes_nothing(home: Path, make: Make, ollama: OllamaServer) -> None:
    def controlled(tells: bool) -> str:
        run_id = make(0 if tells else 3, judge={"kind": "ollama", "url": ollama.url})
        path = MlflowClient(f"sqlite:///{home}/mlflow.db").download_artifacts(run_id, "facts.json")
        facts = json.loads(Path(path).read_text())
        facts["judge"]["control"] = {"rows": 20, "own": 100.0, "other": 0.0 if tells else 100.0, "tells": tells}
        with attached(run_id, home) as run:
            run.log_dict(facts, "facts.json")
        return run_id

    for address in (controlled(tells=False), controlled(tells=False)):
        with pytest.raises(PromotionRefused, match="cannot tell a right response from a wrong one"):
            promote(address, home)
    done = promote(controlled(tells=True), home)
    assert "not checked" not in done.sentence
    with pytest.raises(PromotionRefused, match="cannot tell a right response from a wrong one"):
        promote(address, home)


@pytest.mark.ci
def test_verdicts_that_cannot_be_read_refuse_above_a_share_and_rules_may_be_softer(
    home: Path, make: Make, tmp_path: Path
) -> None:
    run_id = make(0)
    with attached(run_id, home) as run:
        run.metrics({"test/unparsed_share": 0.2}, 2)
    with pytest.raises(PromotionRefused, match=r"20.0% of the verdicts on its responses could not be read; --force"):
        promote(run_id, home)
    (tmp_path / "soft.yaml").write_text("unparsed_verdicts: {level: warn}\nminimum_metrics: {metrics: {score: 99}}\n")
    done = promote(run_id, home, rules=str(tmp_path / "soft.yaml"))
    verdicts = {each.rule: (each.verdict, each.value) for each in done.rules}
    assert verdicts["unparsed_verdicts"] == ("failed", 0.2)
    assert verdicts["better_than_best_baseline"] == ("not measured", None)
    assert verdicts["minimum_metrics: score"] == ("passed", 100)
    assert verdicts["judge_tells"] == ("passed", "tells")


@pytest.mark.slow
def test_rows_that_either_or_one_before_it_learned_from_are_left_out(home: Path, make: Make, name: str) -> None:
    first = make(40, train=range(1, 11))
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    client.set_registered_model_alias(name, "earlier", "1")
    second = make(20, train=range(11, 14), weights=f"models:/{name}@earlier")
    third = make(0, train=range(14, 16), weights=f"runs:/{second}")
    found = compare_runs(third, make(20), home)
    assert found.responses is not None
    assert (found.responses.rows, found.responses.left_out, found.responses.left_out_for_ancestors) == (105, 15, 13)
    assert found.warnings == []
    assert (
        "On the 105 test rows that both have and neither, nor a model that one of them continues, was trained on"
        in (found.sentence)
    )
    again = compare_runs(first, make(20), home).responses
    assert again is not None
    assert (again.left_out, again.left_out_for_ancestors) == (10, 0)
    promote(first, home, force=True, reason="to begin with")
    assert promote(third, home).measured[0].rows == 105


@pytest.mark.ci
def test_a_first_champion_must_be_better_than_the_model_that_it_started_from(home: Path, make: Make) -> None:
    with pytest.raises(
        PromotionRefused, match=r"and the model that it started from .*: it is not (shown to be )?better"
    ):
        promote(make(ROWS), home)
    assert np.isclose(promote(make(0), home).measured[0].candidate, 100)
