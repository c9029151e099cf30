"""Which rows of two instruction runs are the same, and whose scores they are compared by."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.core.errors import NotComparable
from components.core.records import Facts
from components.evaluation.paired.response_pairing import Answers, OtherJudge, pair_answers, read_answers

Row = tuple[str, str, str, float]
"""Instruction, input, reference and score."""


def told(model: str | None = "llama3", digest: str = "1", rubric: int = 1, **settings: Any) -> Facts:
    judge: Facts = {
        "kind": "ollama",
        "model": model,
        "digest": digest,
        "name": f"{model} {digest}",
        "is_language_model": True,
    }
    return {"judge": judge | ({"settings": settings} if settings else {}), "rubric": rubric}


def read(path: Path, rows: list[Row], judge: Facts | None = None, others: Any = None) -> Answers:
    frame = pd.DataFrame(rows, columns=["instruction", "input", "reference", "score"])
    frame.insert(0, "row", range(1, len(rows) + 1))
    frame.assign(exact_match=frame["score"] == 100, token_f1=0.5, chrf=1.0).to_parquet(path, index=False)
    return read_answers(path, judge or told(), others or {})


def write_verdicts(path: Path) -> Path:
    """Write what another judge gave the responses to two rows: 66 to the first, 77 to the second."""
    pd.DataFrame(
        {"of": "model", "row": [2, 1], "repeat": 0, "score": [77.0, 66.0], "reason": "", "status": "scored",
         "reply": "", "exact_match": 0.0, "token_f1": 0.0, "chrf": 0.0}
    ).to_parquet(path, index=False)  # fmt: skip
    return path


def test_a_row_is_the_same_by_instruction_input_and_reference_and_twice_counts_twice(tmp_path: Path) -> None:
    first = read(tmp_path / "1", [("a", "", "x", 10), ("a", "", "x", 20), ("b", "c", "x", 30), ("bc", "", "x", 40)])
    second = read(tmp_path / "2", [("b", "c", "x", 3), ("a", "", "x", 1), ("b", "", "x", 5), ("a", "", "y", 6)])
    pairs = pair_answers(first, second)
    assert (pairs.first["score"].tolist(), pairs.second["score"].tolist()) == ([10, 30], [1, 3])
    runs = pairs.runs
    assert (pairs.rows, len(runs[0]), len(runs[1]), pairs.same_test_set) == (2, 4, 4, False)
    assert pair_answers(first, first).same_test_set
    with pytest.raises(NotComparable, match="of 4 and 1 test rows none is the same"):
        pair_answers(first, read(tmp_path / "3", [("z", "", "x", 1)]))


@pytest.mark.parametrize("other", [told("phi3"), told(digest="2"), told(rubric=2), told(think="high")])
def test_another_model_digest_rubric_or_setting_is_another_judge(tmp_path: Path, other: Facts) -> None:
    rows: list[Row] = [("a", "", "x", 10)]
    with pytest.raises(OtherJudge, match="whose scores mean other things"):
        pair_answers(read(tmp_path / "1", rows), read(tmp_path / "2", rows, other))


def test_a_judge_that_has_seen_both_is_found_the_first_runs_own_before_others(tmp_path: Path) -> None:
    rows: list[Row] = [("a", "", "x", 10), ("b", "", "x", 20)]
    verdicts = write_verdicts(tmp_path / "verdicts.parquet")
    one = read(tmp_path / "1", rows, told("phi3"))
    both = read(tmp_path / "2", rows, told(), {verdicts: told("phi3")})
    pairs = pair_answers(both, one)
    assert (pairs.judge.model, pairs.first["score"].tolist()) == ("phi3", [66, 77])
    assert pair_answers(both, both).judge.model == "llama3"


def test_a_judge_that_cannot_tell_gives_way_to_another_that_has_seen_both(tmp_path: Path) -> None:
    rows: list[Row] = [("a", "", "x", 10), ("b", "", "x", 20)]
    verdicts = write_verdicts(tmp_path / "verdicts.parquet")
    blind = told() | {"control": {"tells": False}}
    one, two = (read(tmp_path / name, rows, blind, {verdicts: told("phi3")}) for name in "12")
    assert pair_answers(one, two).judge.model == "phi3"
    assert pair_answers(read(tmp_path / "3", rows, blind), two).judge.tells is False, "there is no other"


def test_a_file_that_is_no_table_of_responses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("no Parquet")
    pd.DataFrame({"row": [1]}).to_parquet(tmp_path / "2")
    for name in ("1", "2", "none"):
        with pytest.raises(NotComparable, match="cannot be read"):
            read_answers(tmp_path / name, told(), {})


def test_a_row_is_another_where_other_things_were_said_before_it(tmp_path: Path) -> None:
    first = read(tmp_path / "1", [("a", "", "x", 10), ("b", "", "x", 20)])
    table = pd.read_parquet(tmp_path / "1")
    table.assign(history=[None, '[{"role": "system", "content": "Be kind."}]']).to_parquet(tmp_path / "2", index=False)
    second = read_answers(tmp_path / "2", told(), {})
    assert pair_answers(first, second).rows == 1
    assert pair_answers(second, second).rows == 2
