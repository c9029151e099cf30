"""The judge that compares texts."""

import json
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sacrebleu

from components.judging.cache import Cache
from components.judging.config import JudgeConfig
from components.judging.identity import judge_identity
from components.judging.lexical import measure, token_f1
from tests.judging.bench import ROWS, Bench, write_responses


def test_needs_no_server_and_is_no_language_model(bench: Bench) -> None:
    facts = bench.judge(None, kind="lexical", repeats=3)
    assert facts["judge"]["is_language_model"] is False
    assert facts["judge"]["name"] == "chrF against the reference (lexical: no language model)"
    assert facts["rubric"] is None
    assert facts["repeats"] == 1, "it would say the same again"
    assert facts["counts"] == {of: {"scored": ROWS, "unparsed": 0} for of in ("model", "start", "reference")}
    assert {path.name for path in bench.out.iterdir()} == {"verdicts.parquet", "control.parquet"}
    assert not bench.cache.exists()
    for verdict in bench.verdicts():
        assert verdict["score"] == verdict["chrf"]
        assert verdict["reason"].startswith("chrF ")
    assert [verdict["score"] for verdict in bench.verdicts()[2 * ROWS :]] == [100] * ROWS
    assert judge_identity(JudgeConfig(kind="lexical")) == {"kind": "lexical", "also": ["start", "reference"]}


def test_the_table_has_the_columns_that_were_agreed(bench: Bench) -> None:
    bench.judge(None, kind="lexical", also=[])
    schema = pq.read_schema(bench.out / "verdicts.parquet")
    assert {field.name: str(field.type) for field in schema} == {
        "of": "string", "row": "int64", "repeat": "int64", "score": "double", "reason": "string", "status": "string",
        "reply": "string", "thinking": "string", "finish_reason": "string", "refusal": "string",
        "prompt_tokens": "int64", "exact_match": "double", "token_f1": "double", "chrf": "double",
    }  # fmt: skip


def test_chrf_is_sacrebleus(tmp_path: Path) -> None:
    pairs = [("The cat sat.", "A cat is sitting."), ("", "word"), ("강아지", "고양이"), ("x" * 500, "y")]
    with Cache(tmp_path / "verdicts.sqlite") as cache:
        computed = list(measure(pairs, cache))
        assert list(measure(pairs, cache)) == computed == list(measure(pairs))
        assert list(measure([*pairs, ("new", "news")], cache))[:-1] == computed
    assert [found.chrf for found in computed] == [
        sacrebleu.sentence_chrf(response, [reference]).score for response, reference in pairs
    ]


@pytest.mark.parametrize(
    ("response", "reference", "exact", "f1"),
    [
        ("", "", 1, 1),
        (" the same\n", "the same", 1, 1),
        ("The Same", "the same", 0, 1),
        ("a cat, sitting!", "the cat sitting", 0, 1),
        ("", "word", 0, 0),
        ("the", "cat", 0, 0),
        ("...", "!", 0, 1),
        ("one two three four", "one two", 0, 2 / 3),
        ("cat cat cat", "cat", 0, 0.5),
        ("다람쥐 헌", "다람쥐 쳇바퀴", 0, 0.5),
    ],
)
def test_measures_of_words(response: str, reference: str, exact: float, f1: float) -> None:
    [found] = measure([(response, reference)])
    assert (found.exact_match, found.token_f1) == (exact, pytest.approx(f1))
    if exact:
        assert found.chrf == 100


@pytest.mark.ci
def test_token_f1_is_squads_on_the_tutorials_data(shared_data: Path) -> None:
    """Against the normalisation of the SQuAD evaluation script, written out here, on real English."""
    import re
    import string
    from collections import Counter

    def words(text: str) -> list[str]:
        bare = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", bare).split()

    entries = [entry["output"] for entry in json.loads((shared_data / "instruction-data.json").read_text())]
    entries = [entry for entry in entries if entry.isascii() and not set(entry) & set("$+<=>^`|~")]
    for said, wanted in pairwise(entries):
        common = (Counter(words(said)) & Counter(words(wanted))).total()
        total = len(words(said)) + len(words(wanted))
        assert token_f1(said, wanted) == pytest.approx(2 * common / total if total else 1)


def test_rows_may_be_none(bench: Bench) -> None:
    write_responses(bench.tables["model"], ["one"])
    table = pq.read_table(bench.tables["model"])
    pq.write_table(table.slice(0, 0), bench.tables["model"])
    facts = bench.judge(None, kind="lexical", also=[])
    assert facts["counts"] == {}
    assert bench.verdicts() == []
