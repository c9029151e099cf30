"""Comparing and promoting instruction runs, on a real MLflow store: by the same rows, and by the same judge."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components.core.errors import PromotionRefused
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import attached, open_run
from pipelines.judging import judge_run
from pipelines.promoting.promote import promote
from tests.judging.serving import OllamaServer
from tests.pipelines.answered_runs import QUIET, ROWS, answered_run, gradus
from tests.pipelines.commands import compare_runs
from tests.pipelines.labelled_runs import aliases

Make = Callable[..., str]


@pytest.fixture
def make(home: Path, tmp_path: Path) -> Make:
    """A function that records a finished run whose first `wrong` test responses are not the references."""
    numbers = itertools.count()
    return lambda wrong, **more: answered_run(home, tmp_path / str(next(numbers)), wrong, **more)


@pytest.mark.ci
def test_the_higher_score_is_named_with_its_evidence(home: Path, make: Make) -> None:
    one, other = make(40, name="a"), make(20, name="b")
    found = compare_runs(one, other, home)
    assert found.test is None
    assert found.responses is not None
    assert (found.responses.rows, found.responses.same_test_set, found.responses.better) == (ROWS, True, "second")
    assert (found.responses.only_first_exact, found.responses.only_second_exact) == (0, 20)
    exact = {figure.name: figure for figure in found.responses.figures}["exact_match"]
    assert (exact.first, exact.second, exact.better) == (pytest.approx(80 / 120), pytest.approx(100 / 120), "second")
    score = found.responses.figures[0]
    low, high = score.difference_interval
    assert (score.name, 0 < low < score.difference < high) == ("score", True)
    assert found.parameters == {"name": ("a", "b")}
    assert found.warnings == []
    assert found.sentence.startswith(
        f"On the same 120 test rows run {other[:8]} scores significantly higher than run {one[:8]} ("
    )
    assert "by chrF against the reference (lexical: no language model), difference +" in found.sentence
    assert found.sentence.endswith(
        f"permutation p < 0.001); run {other[:8]} gives the reference word for word significantly more often "
        "(66.7% and 83.3%, McNemar p < 0.001)."
    )

    shown = gradus(home, "compare", one, other)
    assert shown.exit_code == 0, shown.stderr
    assert found.sentence in " ".join(shown.stdout.split())
    assert "from the first on 0 rows, from the second on 20" in shown.stdout
    assert json.loads(gradus(home, "compare", one, other, "--json").stdout) == found.model_dump(mode="json")


def test_two_alike_do_not_differ_and_common_rows_are_enough(home: Path, make: Make) -> None:
    one, other = make(40), make(42, first=21)
    same = compare_runs(one, one, home).responses
    assert same is not None
    assert (same.p_value, same.better, same.exact_p_value) == (1.0, None, 1.0)
    found = compare_runs(one, other, home)
    assert found.responses is not None
    assert (found.responses.rows, found.responses.same_test_set, found.responses.test_rows) == (100, False, (120, 120))
    assert "On the 100 test rows that both have" in found.sentence
    apart = compare_runs(one, make(1, first=500), home)
    assert apart.refused == (
        "not compared: of 120 and 120 test rows none is the same; run both on the same source and split"
    )


def test_what_speaks_against_a_comparison_is_said(home: Path, make: Make) -> None:
    one = make(10)
    other = make(20, model={"weights": "models:/earlier@champion"})
    with attached(one, home) as run:
        facts = {"judge": json.loads(gradus_facts(home, one))["judge"], "split": {"overlap": {"test": {"folded": 3}}}}
        run.log_dict(facts, "facts.json")
    found = compare_runs(one, other, home)
    assert found.warnings == [
        f"3 test rows of run {one[:8]} stand in its training data too, but for case, digits or blanks",
        f"run {other[:8]} went on from models:/earlier@champion, which may have been trained on some of these rows",
    ]
    assert f"run {one[:8]} was trained on 3 of its test rows" in found.sentence


def gradus_facts(home: Path, run_id: str) -> str:
    return next((home / "artifacts").glob(f"{run_id}/artifacts/facts.json")).read_text()


@pytest.mark.ci
def test_verdicts_of_different_judges_are_refused_until_one_judge_has_seen_both(
    home: Path, make: Make, ollama: OllamaServer
) -> None:
    asked = {"kind": "ollama", "url": ollama.url, "backoff": 0.01}
    one, other = make(10, judge=asked), make(20)
    refused = gradus(home, "compare", one, other)
    assert refused.exit_code == 1
    assert refused.stderr.splitlines() == [
        "gradus: not compared: the first was judged by llama3 (Ollama, 365c365c365c) and the second by chrF against "
        "the reference (lexical: no language model), whose scores mean other things; judge one of them again, as with "
        f"`gradus judge {other[:8]} --set judge.kind=ollama --set judge.model=llama3`"
    ]
    done = gradus(home, "judge", other[:8], "--set", "judge.kind=ollama", "--set", "judge.model=llama3",
                  "--set", f"judge.url={ollama.url}")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = compare_runs(one, other, home)
    assert found.responses is not None
    assert (found.responses.judge, found.responses.better) == ("llama3 (Ollama, 365c365c365c)", "first")
    judge_run(one, ["judge.kind=lexical"], home)
    assert compare_runs(other, one, home).responses.judge.startswith("chrF")  # type: ignore[union-attr]


@pytest.mark.ci
def test_another_version_of_the_judges_model_is_another_judge(home: Path, make: Make, ollama: OllamaServer) -> None:
    asked = {"kind": "ollama", "url": ollama.url}
    one = make(10, judge=asked)
    ollama.behave(models={"llama3:latest": "sha256:pulled-anew"})
    try:
        found = compare_runs(one, make(10, judge=asked), home)
    finally:
        ollama.behave()
    assert found.refused is not None
    assert found.refused.endswith(
        "judge both again with `gradus judge RUN --set judge.kind=ollama --set judge.model=llama3`"
    )


def test_a_classifier_and_an_instruction_run_are_refused_in_one_line(home: Path, make: Make) -> None:
    with open_run(QUIET, home, "classifier", {"pipeline": "classification"}) as classifier:
        pass
    one = make(3)
    refused = gradus(home, "compare", classifier.run_id, one)
    assert refused.exit_code == 1
    assert refused.stderr.splitlines() == [
        f"gradus: not compared: run {classifier.run_id[:8]} is of the pipeline classification and run {one[:8]} of "
        "instruction; give two runs of one pipeline"
    ]


@pytest.mark.ci
def test_a_run_without_responses_is_shown_with_a_warning(home: Path, make: Make) -> None:
    with open_run(QUIET, home, "empty", {"pipeline": "instruction"}) as empty:
        pass
    found = compare_runs(make(3), empty.run_id, home)
    assert found.warnings == [
        f"run {empty.run_id[:8]} left no responses.parquet and no facts.json: there is nothing to test on"
    ]


@pytest.mark.slow
def test_promotion_refuses_what_scores_lower_and_other_judges(
    home: Path, make: Make, saved_model: Path, ollama: OllamaServer
) -> None:
    def registered(wrong: int, **more: object) -> str:
        run_id = make(wrong, **more)
        with attached(run_id, home) as run:
            log_package(run, classifier_package(saved_model, ["a"]), "answering")  # any model will do: nobody asks it
        return run_id

    first = promote(registered(20), home)
    assert "and the model that it started from" in first.sentence
    with pytest.raises(
        PromotionRefused, match=r"the champion \(version 1\) .*: it is not shown to be less than 2 points"
    ):
        promote(registered(40), home)
    with pytest.raises(PromotionRefused, match=r"about [\d,]+ rows would be needed to show it of two that are equally"):
        promote(registered(19), home)
    assert promote(registered(5), home).sentence.startswith(
        "version 4 of answering is now the champion in place of version 1: On the same 120 test rows the new model "
        "(version 4) scores "
    )
    asked = registered(0, judge={"kind": "ollama", "url": ollama.url})
    with pytest.raises(PromotionRefused, match=r"cannot be compared .*`gradus judge \w{8} --set judge.kind=lexical`"):
        promote(asked, home)
    judge_run(asked, ["judge.kind=lexical"], home)
    done = promote(asked, home, margin=5)
    assert [each.version for each in done.measured] == ["4", "1"]
    assert aliases(home, "answering") == {"champion": "5", "previous_champion": "4"}
