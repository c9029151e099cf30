"""Whether a judge can tell good from bad: other rows' references, judged by real servers that are sane or are not."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.evaluation.instruction import control_metrics, warnings
from components.judging.control import APART, ROWS, control_facts, draw_control
from components.judging.verdicts import REFUSED, scored, unparsed
from tests.judging.bench import Bench
from tests.judging.serving import OllamaServer

WORDS = ("apple", "river", "stone", "cloud", "tiger", "violin", "desert", "ladder", "pepper", "window")


def write(bench: Bench, references: list[str]) -> None:
    """Write the model's responses to tasks with these references."""
    rows = range(1, len(references) + 1)
    table = {
        "row": [row * 10 for row in rows],
        "instruction": [f"Task {row}." for row in rows],
        "input": [""] * len(references),
        "output": references,
        "model_response": [f"Response {row}" for row in rows],
    }
    pq.write_table(pa.table(table), bench.tables["model"])
    bench.tables = {"model": bench.tables["model"]}


def different(count: int) -> list[str]:
    return [f"{WORDS[place % 10]} {WORDS[place // 10 % 10]}" for place in range(count)]


def said_of(facts: dict[str, Any]) -> list[str]:
    return [line for line in warnings({}, facts) if "good from bad" in line]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ollama", "openai"])
@pytest.mark.parametrize(("score", "tells"), [("", True), ("100", False), ("0", False), ("random", False)])
def test_a_judge_that_cannot_tell_good_from_bad_is_found_out(
    ollama: OllamaServer, bench: Bench, kind: str, score: str, tells: bool
) -> None:
    write(bench, different(60))
    ollama.behave(score=score)
    facts = bench.judge(ollama, kind=kind)
    control = facts["control"]
    assert control["rows"] == ROWS == 20
    assert control["tells"] is tells
    if score.isdigit():
        assert (control["own"], control["other"]) == (float(score), float(score))
    assert (control["own"] - control["other"] >= APART) == tells
    lines = said_of(facts)
    assert len(lines) == (0 if tells else 1)
    assert tells or "llama3" in lines[0]
    assert control_metrics(facts) == {f"judge/control_{of}": control[of] for of in ("own", "other")}
    table = pq.read_table(bench.out / "control.parquet").to_pylist()
    assert sum(row["other_score"] for row in table) / 20 == pytest.approx(control["other"])
    own = {each["row"]: each["score"] for each in bench.verdicts() if each["of"] == "reference"}
    assert [own[row["row"]] for row in table] == [row["own_score"] for row in table]
    assert {each["of"] for each in bench.verdicts()} == {"model", "reference"}, "it is in no other figure"


@pytest.mark.ci
def test_another_rows_reference_is_what_is_judged(ollama: OllamaServer, bench: Bench) -> None:
    references = different(30)
    write(bench, references)
    facts = bench.judge(ollama)
    for row in pq.read_table(bench.out / "control.parquet").to_pylist():
        place, other = row["row"] // 10 - 1, row["other_row"] // 10 - 1
        assert row["response"] == references[other] != references[place]
        [question] = [text for text in ollama.answered
                      if f'"Task {place + 1}."' in text and f'"response": "{references[other]}"' in text]  # fmt: skip
        assert f'"reference": "{references[place]}"' in question
    assert bench.judge(ollama) == facts
    assert len(ollama.chats) == 30 + 30 + 20, "judging again draws the same rows"


def test_the_lexical_judge_is_controlled_as_well(bench: Bench) -> None:
    write(bench, different(60))
    facts = bench.judge(None, kind="lexical")
    assert facts["control"]["tells"] is True
    assert facts["control"]["own"] == 100
    write(bench, [f"The number of the house is {place}." for place in range(60)])
    facts = bench.judge(None, kind="lexical")
    assert facts["control"]["tells"] is False
    [line] = said_of(facts)
    assert line.startswith(
        "chrF against the reference (lexical: no language model) cannot tell good from bad: on 20 rows"
    )


@pytest.mark.parametrize(
    ("references", "settings", "why"),
    [
        (["Yes.", "yes. ", "YES.\n"], {}, "all references are the same"),
        (["Yes."], {}, "all references are the same"),
        (["Yes.", "No."], {"also": []}, "judge.also lacks `reference`"),
    ],
)
def test_where_it_is_impossible_that_is_said(
    bench: Bench, references: list[str], settings: dict[str, Any], why: str
) -> None:
    write(bench, references)
    facts = bench.judge(None, kind="lexical", **settings)
    expected = {"rows": 0, "own": None, "other": None, "apart": APART, "tells": False, "why": why}
    assert facts["control"] == expected
    [line] = said_of(facts)
    assert line.endswith(f"can tell good from bad is not known: {why}")
    assert control_metrics(facts) == {}


@pytest.mark.ci
def test_a_judge_that_refuses_other_references_is_not_trusted(ollama: OllamaServer, bench: Bench) -> None:
    write(bench, ["yes", *["no"] * 9])
    ollama.behave(fault="400", where='"reference": "no",\n "response": "yes"')
    facts = bench.judge(ollama, max_unparsed=0)
    assert facts["control"]["rows"] == 1, "what it says of the references counts for max_unparsed, this does not"
    why = "only 1 of 10 rows have scores of both references"
    assert (facts["control"]["tells"], facts["control"]["why"]) == (False, why)
    [line] = said_of(facts)
    assert line.endswith(why)
    statuses = [row["status"] for row in pq.read_table(bench.out / "control.parquet").to_pylist()]
    assert statuses.count("unparsed") == 9


@pytest.mark.parametrize(("read", "tells"), [(20, True), (10, True), (9, False), (1, False)])
def test_half_of_the_rows_are_needed_to_tell(read: int, tells: bool) -> None:
    others = [[scored(0, "")]] * read + [[unparsed("", REFUSED)]] * (20 - read)
    control = control_facts([({}, [scored(100, "")], other) for other in others], "")
    assert (control["rows"], control["tells"], "why" in control) == (read, tells, not tells)
    lines = said_of({"judge": {"name": "llama3"}, "control": control})
    assert lines == ([] if tells else [f"whether llama3 can tell good from bad is not known: {control['why']}"])


@pytest.mark.parametrize("rows", [2, 3, 19, 20, 21, 500])
def test_pairs_are_of_different_texts_and_the_same_each_time(rows: int) -> None:
    references = ["same"] * (rows - 1) + ["Other"]
    pairs = draw_control(references)
    assert len(pairs) == len({place for place, _ in pairs}) == min(rows, ROWS)
    assert all(references[place] != references[other] for place, other in pairs)
    assert draw_control(references) == pairs


def test_everyone_has_other_rows(tmp_path: Path) -> None:
    assert draw_control([]) == []
    drawn = [place for place, _ in draw_control(different(100))]
    assert max(drawn) - min(drawn) > 50, "not the first rows"
