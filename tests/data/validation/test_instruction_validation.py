"""Instructions under validation: what fails is named with its row, left out or refused, and kept beside."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from components.core.errors import ConfigError, DataRejected, TableError, WeightsError
from components.data.validation.engine import Engine
from components.data.validation.instructions import validate_instructions
from components.data.validation.rows import Source
from components.data.validation.rules import InstructionValidationConfig
from components.models.tokenizer import encode, load_tokenizer
from components.prompts import TEMPLATES, PromptConfig, Template

VOCABULARY = "sample://vocabulary.tiktoken"
SCHEMA = pa.schema([("row", pa.int64()), *((name, pa.string()) for name in ("instruction", "input", "output"))])
NAMES = [
    "columns",
    "instruction_not_null",
    "output_not_null",
    "instruction_not_blank",
    "output_not_blank",
    "length",
    "duplicates",
    "rows",
    "empty_inputs",
]

Entry = tuple[str | None, str | None, str | None]


def good(entries: int = 30) -> list[Entry]:
    """Distinct entries, every other one without an input."""
    return [
        (f"Say number {each}.", f"in words, {each}" if each % 2 else "", f"number {each}") for each in range(entries)
    ]


def with_bad(*bad: Entry) -> list[Entry]:
    """Good entries, and bad ones spread among them: rows 2, 4, 6 and so on."""
    entries = good()
    for place, entry in enumerate(bad):
        entries.insert(2 * place + 1, entry)
    return entries


class Case:
    """A table on disk, validated into a folder."""

    def __init__(self, folder: Path) -> None:
        self.table = folder / "in.parquet"
        self.out = folder / "out"
        self.out.mkdir()
        self.template: Template = TEMPLATES["alpaca"]
        self.context = 256

    def write(self, entries: list[Entry], **more: list[Any]) -> pa.Table:
        columns = {"row": list(range(1, len(entries) + 1))}
        columns |= {name: [entry[place] for entry in entries] for place, name in enumerate(SCHEMA.names[1:])}
        table = pa.table(columns, schema=SCHEMA)
        for name, values in more.items():
            table = table.append_column(name, pa.array(values))
        pq.write_table(table, self.table)
        return table

    def validate(self, entries: list[Entry] | None = None, /, **sections: Any) -> dict[str, Any]:
        if entries is not None:
            self.write(entries)
        rules = InstructionValidationConfig.model_validate(sections)
        return dict(validate_instructions(self.table, rules, self.template, VOCABULARY, None, self.context, self.out))

    def refuse(self, entries: list[Entry] | None = None, /, **sections: Any) -> str:
        with pytest.raises(DataRejected) as caught:
            self.validate(entries, **sections)
        assert not (self.out / "table.parquet").exists()
        assert caught.value.evidence == self.out
        assert {path.name for path in self.out.iterdir()} == {"rejected.parquet", "report.json", "report.html"}
        return str(caught.value)

    def accepted(self) -> list[dict[str, Any]]:
        return list(pq.read_table(self.out / "table.parquet").to_pylist())

    def rejected(self) -> list[tuple[Any, ...]]:
        return [(each["row"], each["reason"]) for each in pq.read_table(self.out / "rejected.parquet").to_pylist()]

    def page(self) -> str:
        texts: list[str] = []
        parser = HTMLParser()
        parser.handle_data = texts.append  # type: ignore[method-assign]
        parser.feed((self.out / "report.html").read_text())
        return " ".join(" ".join(texts).split())


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def of(facts: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in facts["expectations"] if each["name"] == name)
    return found


def tokens(template: Template, entry: Entry) -> int:
    instruction, given, output = (text or "" for text in entry)
    prompt, response = encode(
        load_tokenizer(VOCABULARY), [template.prompt(instruction, given), template.completion(output)]
    )
    return len(prompt) + len(response) + 1


# What passes


@pytest.mark.ci
def test_a_clean_table_passes_unchanged(case: Case) -> None:
    table = case.write(good())
    facts = case.validate()
    assert pq.read_table(case.out / "table.parquet").equals(table)
    assert case.rejected() == []
    assert (facts["rows_in"], facts["rows_out"], facts["rejected"], facts["warnings"]) == (30, 30, {}, [])
    assert facts["empty_inputs"] == 0.5
    assert facts["tasks"] == {}
    lengths = [tokens(case.template, entry) for entry in good()]
    assert facts["tokens"] == {"longest": max(lengths), "mean": pytest.approx(sum(lengths) / 30)}
    assert [each["name"] for each in facts["expectations"]] == NAMES
    assert all(each["success"] is True for each in facts["expectations"])
    assert {path.name for path in case.out.iterdir()} == {
        "rejected.parquet",
        "report.html",
        "report.json",
        "table.parquet",
    }
    json.dumps(facts, allow_nan=False)


@pytest.mark.ci
def test_every_verdict_is_one_of_great_expectations(case: Case) -> None:
    case.validate(good())
    evaluations = json.loads((case.out / "report.json").read_text())["evaluations"]
    assert {each["name"] for each in evaluations} == set(NAMES)
    assert all(each["expectation"].startswith("expect_") for each in evaluations)
    length = next(each for each in evaluations if each["name"] == "length")
    assert length["arguments"] == {"column": "tokens", "min_value": 1, "max_value": 256}


@pytest.mark.ci
@pytest.mark.parametrize("name", list(TEMPLATES))
def test_tokens_are_those_of_the_template(case: Case, name: str) -> None:
    case.template = PromptConfig(template=name).resolved(None)  # type: ignore[arg-type]
    case.context = 1024
    facts = case.validate(good())
    assert facts["tokens"]["longest"] == max(tokens(case.template, entry) for entry in good())


@pytest.mark.ci
def test_tasks_are_counted_and_further_columns_kept(case: Case) -> None:
    tasks = ["sum", "plural", None] * 10
    table = case.write(good(), task=tasks, weight=[0.5 * each for each in range(30)])
    facts = case.validate()
    assert facts["tasks"] == {"sum": 10, "plural": 10}
    assert pq.read_table(case.out / "table.parquet").equals(table)
    page = case.page()
    assert "Tasks" in page
    assert "plural" in page


def test_the_page_shows_lengths_and_the_largest_tasks(case: Case) -> None:
    case.write(good(80), task=[f"task {row % 35}" for row in range(80)])
    facts = case.validate()
    page = case.page()
    assert (
        f"Mean tokens {facts['tokens']['mean']:.1f} Most tokens {facts['tokens']['longest']} Empty inputs 50.0 %"
        in page
    )
    assert "5 others 10 12.5 %" in page
    bars = re.findall(r"(\d+) to (\d+) (\d+) [\d.]+ %", page)
    assert sum(int(rows) for _, _, rows in bars) == 80
    assert int(bars[0][2]) > 0
    assert int(bars[-1][0]) <= facts["tokens"]["longest"] <= int(bars[-1][1])


# What fails


@pytest.mark.ci
def test_bad_rows_are_left_out_and_named(case: Case) -> None:
    bad: list[Entry] = [
        (None, "", "a"),
        ("b", "", None),
        (" \u200b\n", "x", "c"),
        ("d", "", "\ufeff\u00a0"),
        ("e", "long " * 300, "f"),
        (None, None, " "),
    ]
    entries = with_bad(*bad)
    table = case.write(entries, weight=[float(each) for each in range(36)])
    facts = case.validate()
    assert case.rejected() == [
        (2, "instruction_not_null"),
        (4, "output_not_null"),
        (6, "instruction_not_blank"),
        (8, "output_not_blank"),
        (10, "length"),
        (12, "instruction_not_null;output_not_blank"),
    ]
    rejected = pq.read_table(case.out / "rejected.parquet").drop_columns(["reason"])
    assert rejected.equals(table.take([1, 3, 5, 7, 9, 11]))
    assert facts["rejected"] == {
        "instruction_not_null": 2,
        "output_not_null": 1,
        "instruction_not_blank": 1,
        "output_not_blank": 2,
        "length": 1,
    }
    assert [entry["row"] for entry in case.accepted()] == [row for row in range(1, 37) if row not in range(2, 13, 2)]
    too_long = tokens(case.template, bad[4])
    assert of(facts, "length")["failing_rows"] == 1
    assert facts["warnings"][-1] == (
        f"length: 1 row left out (row 10: {too_long} tokens); "
        "expected: prompt, response and end of text have 1 to 256 tokens."
    )
    assert f"(row 10: {too_long} tokens)" in case.page()
    assert facts["tokens"]["longest"] < 256


@pytest.mark.ci
def test_an_entry_longer_than_the_context_stops_the_flow_if_it_is_to(case: Case) -> None:
    message = case.refuse(with_bad(("e", "long " * 300, "f")), length={"severity": "error"})
    lines = message.splitlines()
    assert re.fullmatch(
        r"data rejected by length: 1 of 31 rows fails \(row 2: \d+ tokens\)\. Correct the data, or set "
        r"validation\.length\.severity=warn to leave such rows out\.",
        lines[0],
    )
    assert lines[2] == '  row 2  instruction "e"  input "' + ("long " * 8) + '…"  output "f"  length'


@pytest.mark.ci
def test_the_limit_is_to_the_token(case: Case) -> None:
    lengths = [tokens(case.template, entry) for entry in good()]
    case.context = max(lengths)
    assert case.validate(good())["rejected"] == {}
    case.context -= 1
    longest = [place + 1 for place, length in enumerate(lengths) if length == max(lengths)]
    facts = case.validate(good(), rows={"min": 1})
    assert [row for row, _ in case.rejected()] == longest
    facts = case.validate(good(), length={"max": max(lengths) - 5, "min": min(lengths) + 1}, rows={"min": 1})
    wrong = [each for each in lengths if not min(lengths) + 1 <= each <= max(lengths) - 5]
    assert facts["rejected"] == {"length": len(wrong)}
    assert f": {min(wrong)} to {max(wrong)} tokens)" in facts["warnings"][0]


def test_a_limit_above_the_context_is_that_of_the_context(case: Case) -> None:
    facts = case.validate(good(), length={"max": 5000})
    assert of(facts, "length")["expected"] == "prompt, response and end of text have 1 to 256 tokens"
    with pytest.raises(
        ConfigError, match=r"validation\.length\.min \(300\) is above the model's context \(256 tokens\)"
    ):
        case.validate(good(), length={"min": 300})


@pytest.mark.ci
@pytest.mark.parametrize(
    "name", ["instruction_not_null", "output_not_null", "instruction_not_blank", "output_not_blank"]
)
def test_severity_error_stops_the_flow(case: Case, name: str) -> None:
    column, kind = name.split("_not_")
    bad = None if kind == "null" else "\t"
    entry = (bad, "", "a") if column == "instruction" else ("a", "", bad)
    message = case.refuse(with_bad(entry), **{name: {"severity": "error"}})
    assert message.startswith(
        f"data rejected by {name}: 1 of 31 rows fails. Correct the data, or set validation.{name}."
    )
    assert case.rejected() == [(2, name)]


@pytest.mark.ci
def test_copies_of_instruction_and_input(case: Case) -> None:
    entries = [
        *good(),
        *good()[:10],
        ("Say number 1.", "", "no copy: another input"),
        ("Say number 1.", "in words, 1", "x"),
    ]
    facts = case.validate(entries, duplicates={"max_share": 0.3})
    assert of(facts, "duplicates")["detail"] == "11 of 42 rows"
    assert facts["rows_out"] == 42
    facts = case.validate(entries)
    assert facts["rejected"] == {"duplicates": 11}
    assert [row for row, _ in case.rejected()] == [*range(31, 41), 42]
    (case.out / "table.parquet").unlink()
    message = case.refuse(entries, duplicates={"severity": "error"})
    assert message.startswith("data rejected by duplicates: 11 of 42 rows fail. Correct the data, or set")


@pytest.mark.ci
def test_an_instruction_and_an_input_are_not_run_together(case: Case) -> None:
    entries = [*good(), ("ab", "c", "1"), ("a", "bc", "2"), ("abc", "", "3")]
    facts = case.validate(entries, duplicates={"max_share": 0})
    assert facts["rejected"] == {}


@pytest.mark.ci
def test_the_share_of_empty_inputs(case: Case) -> None:
    facts = case.validate(good(), empty_inputs={"max_share": 0.5})
    assert of(facts, "empty_inputs") | {"expected": ""} == {
        "name": "empty_inputs",
        "severity": "warn",
        "success": True,
        "expected": "",
        "observed": "50.00 %",
        "failing_rows": 0,
        "detail": "15 of 30 rows",
    }
    facts = case.validate(good(), empty_inputs={"max_share": 0.4})
    assert facts["warnings"] == [
        "empty_inputs: 50.00 % (15 of 30 rows); expected: at most 40 % of the rows have an empty input."
    ]
    assert facts["rows_out"] == 30
    (case.out / "table.parquet").unlink()
    message = case.refuse(good(), empty_inputs={"max_share": 0.4, "severity": "error"})
    assert "set validation.empty_inputs.severity=warn to go on all the same" in message


@pytest.mark.ci
@pytest.mark.parametrize("entries", [[], [(None, "", "a")] * 3])
def test_a_table_without_a_row_to_use_always_stops(case: Case, entries: list[Entry]) -> None:
    message = case.refuse(entries, rows={"severity": "warn"})
    refused = " (refused 3 by instruction_not_null)" if entries else ""
    assert f"No row is left to use{refused}: correct the data or the rules." in message
    assert "the table is empty" in message if not entries else "every row fails" in message


@pytest.mark.ci
def test_missing_columns(case: Case) -> None:
    table = case.write(good())
    pq.write_table(table.drop_columns(["input"]), case.table)
    assert case.refuse().startswith("data rejected by columns: no column input. Correct the data, or name the columns")
    facts = case.validate(columns={"severity": "warn"})
    assert of(facts, "length")["success"] is None
    assert of(facts, "length")["detail"] == of(facts, "empty_inputs")["detail"] == "there is no column input"
    assert facts["tokens"] == {"longest": 0, "mean": 0.0}


def test_other_types_and_other_files(case: Case) -> None:
    table = case.write(good())
    pq.write_table(table.set_column(3, "output", pa.array(range(30))), case.table)
    with pytest.raises(TableError, match="column 'output' has int64 values, not text"):
        case.validate()
    case.table.write_text("[]")
    with pytest.raises(TableError, match="cannot be read as a Parquet table"):
        case.validate()


def test_a_vocabulary_that_is_not_there(case: Case) -> None:
    case.write(good())
    with pytest.raises(WeightsError, match=r"nowhere\.tiktoken cannot be read"):
        validate_instructions(
            case.table, InstructionValidationConfig(), case.template, "nowhere.tiktoken", None, 256, case.out
        )


@pytest.mark.ci
def test_hostile_texts_are_shown_not_run(case: Case) -> None:
    hostile = "<script>alert('x')</script>{{ 7 * 7 }} <|endoftext|>"
    case.write(with_bad((hostile, hostile, " ")), task=[hostile] * 31)
    case.validate()
    source = (case.out / "report.html").read_text()
    assert "<script" not in source
    assert hostile[:20] in case.page()
    assert "49 &lt;|endoftext" not in source


@pytest.mark.ci
def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    outputs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        case = Case(tmp_path / name)
        case.validate(with_bad((None, "", "a"), ("a", "", " ")))
        outputs.append({path.name: path.read_bytes() for path in case.out.iterdir()})
    assert outputs[0] == outputs[1]


@pytest.mark.ci
def test_parts_are_added_up(case: Case) -> None:
    entries = good(100)
    entries[10] = entries[60] = ("a", "b " * 400, "c")
    entries[90] = entries[20]
    entries[95] = ("", "", "")
    # So long that no more than some ninety are read at a time.
    case.write(entries, notes=[f"{row}" * 240_000 for row in range(100, 200)])
    assert len(list(Source(case.table, ["row"]).batches())) > 1
    facts = case.validate(duplicates={"max_share": 0})
    assert case.rejected() == [
        (11, "length"),
        (61, "length"),
        (91, "duplicates"),
        (96, "instruction_not_blank;output_not_blank"),
    ]
    assert re.search(r"rows 11, 61: \d+ to \d+ tokens", facts["warnings"][2])
    kept = [entry for place, entry in enumerate(entries) if place not in (10, 60, 90, 95)]
    assert facts["empty_inputs"] == pytest.approx(sum(not entry[1] for entry in kept) / len(kept))


# The rules


@pytest.mark.parametrize(
    "wrong",
    [
        {"length": {"min": 2, "max": 1}},
        {"length": {"min": 0}},
        {"duplicates": {"max_share": 1.1}},
        {"empty_inputs": {"max_share": -0.1}},
        {"rows": {"min": 30, "max": 20}},
        {"labels": ["a", "b"]},
        {"columns": {"severity": "fatal"}},
    ],
)
def test_rules_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        InstructionValidationConfig.model_validate(wrong)


def test_the_rules_are_listed_in_the_order_of_reports() -> None:
    there = [name for name in InstructionValidationConfig.model_fields if name != "conversation"]
    assert there == [*NAMES, "expectations"]


@pytest.mark.ci
def test_importing_loads_nothing_heavy() -> None:
    code = (
        "import sys; from components.data import sources;"
        "from components.data.validation import rules;"
        "print({'great_expectations', 'pandas', 'pyarrow', 'jinja2', 'tiktoken', 'numpy', 'torch'} & set(sys.modules))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# Real data


@pytest.mark.ci
def test_the_tutorials_entries_pass_with_defaults(
    case: Case, shared_data: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tiktoken-cache"))
    raw = json.loads((shared_data / "instruction-data.json").read_text(encoding="utf-8"))
    case.write([(each["instruction"], each["input"], each["output"]) for each in raw])
    Engine()  # the import is not what is timed
    started = time.perf_counter()
    facts = validate_instructions(
        case.table, InstructionValidationConfig(), case.template, "gpt2", None, 1024, case.out
    )
    record_property("seconds", round(time.perf_counter() - started, 3))
    assert (facts["rows_in"], facts["rows_out"], facts["warnings"]) == (1100, 1100, [])
    # ../shared/data/README.md counts 56.4 and 91, without the end of text.
    assert facts["tokens"] == {"longest": 92, "mean": pytest.approx(57.386, abs=1e-3)}
    assert facts["empty_inputs"] == pytest.approx(775 / 1100)
    assert of(facts, "duplicates")["detail"] == "25 of 1,100 rows"
