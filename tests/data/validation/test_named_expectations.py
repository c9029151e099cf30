"""Expectations of Great Expectations' own that a preset names, on tables of both kinds."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from components.core.errors import ConfigError, DataRejected
from components.data.validation import named as validation_named
from components.data.validation.instructions import validate_instructions
from components.data.validation.labelled import validate
from components.data.validation.rules import InstructionValidationConfig, ValidationConfig
from components.prompts import TEMPLATES
from pipelines.config import load_config

REGEX = "expect_column_values_to_match_regex"
UNIQUE = "expect_column_values_to_be_unique"
DISTINCT = "expect_column_unique_value_count_to_be_between"


def named(kind: str, column: str | None = "text", severity: str = "warn", **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "column": column, "severity": severity, "kwargs": kwargs}


class Table:
    """A table of 60 good rows and some more, validated into its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def texts(self, *texts: str | None, **columns: Any) -> None:
        every = [*(f"message {number}" for number in range(60)), *texts]
        frame = pd.DataFrame({"row": range(1, len(every) + 1), "text": every, "label": "ham"})
        frame.loc[::2, "label"] = "spam"
        frame.assign(**columns).to_parquet(self.folder / "in.parquet", index=False)

    def check(self, *expectations: dict[str, Any], **more: Any) -> dict[str, Any]:
        rules = ValidationConfig.model_validate({"labels": ["ham", "spam"], "expectations": expectations, **more})
        return dict(validate(self.folder / "in.parquet", rules, self.folder))

    def rejected(self) -> list[tuple[int, str]]:
        rows = pq.read_table(self.folder / "rejected.parquet").to_pylist()
        return [(row["row"], row["reason"]) for row in rows]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


def of(facts: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in facts["expectations"] if each["name"] == name)


@pytest.mark.ci
def test_rows_that_fail_are_left_out_and_stand_in_the_report(table: Table) -> None:
    table.texts("no digit", None, "none here")
    facts = table.check(named(REGEX, regex=r"\d"), text_not_null={"severity": "warn"})
    name = f"{REGEX}.text"
    assert table.rejected() == [(61, name), (62, "text_not_null"), (63, name)]
    assert (of(facts, name)["success"], of(facts, name)["failing_rows"], facts["rows_out"]) == (False, 2, 60)
    assert any(warning.startswith(f"{name}: 2 rows left out") for warning in facts["warnings"])
    report = json.loads((table.folder / "report.json").read_text())
    record = next(each for each in report["evaluations"] if each["name"] == name)
    assert (record["expectation"], record["arguments"]["regex"]) == (REGEX, r"\d")
    assert name in (table.folder / "report.html").read_text()


@pytest.mark.ci
def test_an_error_stops_with_the_exit_code_of_rejected_data(table: Table) -> None:
    table.texts("no digit")
    with pytest.raises(DataRejected) as caught:
        table.check(named(REGEX, severity="error", regex=r"\d"))
    first = str(caught.value).splitlines()[0]
    assert f"{REGEX}.text: 1 of 61 rows fails" in first
    assert "severity" in first
    assert "validation.expectations" in first


@pytest.mark.slow
@pytest.mark.parametrize(("mostly", "left"), [(0.98, 61), (0.99, 60)])
def test_whether_most_pass_is_decided_by_all_parts_together(
    table: Table, monkeypatch: pytest.MonkeyPatch, mostly: float, left: int
) -> None:
    monkeypatch.setattr("components.data.batches.ROWS", 7)
    table.texts("no digit")
    facts = table.check(named(REGEX, regex=r"\d", mostly=mostly))
    assert facts["rows_out"] == left
    finding = of(facts, f"{REGEX}.text")
    assert finding["observed"] == "60 of 61 rows"
    assert finding["success"] is (left == 61)


def test_what_leaves_no_row_is_named_though_it_only_warns(table: Table) -> None:
    table.texts()
    with pytest.raises(DataRejected) as raised:
        table.check(named(REGEX, regex="^nothing like it$"))
    assert f"(refused 60 by {REGEX}.text)" in str(raised.value).splitlines()[0]


@pytest.mark.ci
def test_expectations_about_several_columns(table: Table) -> None:
    table.texts("ham")
    facts = table.check(
        named("expect_column_pair_values_to_be_equal", None, column_A="text", column_B="label", mostly=0),
        named("expect_select_column_values_to_be_unique_within_record", None, column_list=["text", "label"]),
    )
    assert table.rejected() == []
    assert of(facts, "expect_column_pair_values_to_be_equal.text.label")["observed"] == "0 of 61 rows"


@pytest.mark.long
def test_copies_are_found_on_the_whole_column(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.data.batches.ROWS", 7)
    table.texts("message 3", "message 3")
    facts = table.check(named(UNIQUE), conflicts="keep")
    assert {row for row, _ in table.rejected()} == {4, 61, 62}
    assert facts["rows_out"] == 59
    assert of(facts, "duplicates")["detail"] == "0 of 59 rows"


def test_figures_of_whole_columns_are_kept_whatever_their_type(table: Table) -> None:
    table.texts()
    quantiles = {"quantiles": [0.25, 0.5], "value_ranges": [[1, 20], [1, 20]]}
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("quantile_values", {"quantile_ranges": quantiles}),
        *((kind, {"min_value": 30, "max_value": 31}) for kind in ("mean", "median")),
        *((kind, {"min_value": 0, "max_value": 31}) for kind in ("stdev", "sum", "max", "min", "unique_value_count")),
        ("proportion_of_unique_values", {"min_value": 0.5}),
    ]
    asked = [named(f"expect_column_{kind}_to_be_between", "row", **kwargs) for kind, kwargs in kinds]
    facts = table.check(*asked, named("expect_column_distinct_values_to_contain_set", "row", value_set=[1, 2]))
    found = {each["name"].split(".")[0]: each["success"] for each in facts["expectations"]}
    failed = {name for name, success in found.items() if not success}
    assert failed == {
        f"expect_column_{kind}_to_be_between" for kind in ("quantile_values", "sum", "max", "unique_value_count")
    }
    assert json.loads((table.folder / "report.json").read_text())["verdict"]


@pytest.mark.ci
def test_what_is_about_a_column_counts_the_rows_that_are_left(table: Table) -> None:
    table.texts("", "")
    facts = table.check(
        named(DISTINCT, min_value=60, max_value=60), named("expect_table_row_count_to_equal", None, value=9)
    )
    assert of(facts, f"{DISTINCT}.text")["success"] is True
    assert of(facts, f"{DISTINCT}.text")["observed"] == "60"
    assert of(facts, "expect_table_row_count_to_equal")["success"] is False
    assert facts["rows_out"] == 60


@pytest.mark.ci
def test_a_column_too_large_to_be_seen_as_a_whole_is_refused_by_name(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.texts()
    monkeypatch.setattr(validation_named, "WHOLE_COLUMN_BYTES", 100)
    with pytest.raises(ConfigError, match=rf"validation\.expectations: {DISTINCT}\.text .* of text ") as caught:
        table.check(named(DISTINCT, min_value=1))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    table.check(named(REGEX, regex="."))  # which is seen in parts


@pytest.mark.ci
def test_further_columns_of_a_table_of_any_type(table: Table) -> None:
    table.texts(weight=[float(number) for number in range(60)])
    facts = table.check(named("expect_column_values_to_be_between", "weight", min_value=2))
    assert [row for row, _ in table.rejected()] == [1, 2]
    assert facts["rows_out"] == 58


@pytest.mark.ci
def test_the_same_expectation_twice_is_told_apart(table: Table) -> None:
    table.texts("x 1")
    facts = table.check(named(REGEX, regex="m"), named(REGEX, regex=r"\d"))
    assert of(facts, f"{REGEX}.text")["success"] is False
    assert of(facts, f"{REGEX}.text.2")["success"] is True


@pytest.mark.ci
def test_more_than_a_byte_of_expectations(table: Table) -> None:
    table.texts("odd")
    table.check(*(named(REGEX, regex=f"message|{number}") for number in range(12)))
    assert table.rejected()[0][1].count(";") == 11


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        (named(REGEX, "txt", regex="."), ["'txt'", "did you mean 'text'?"]),
        (named(REGEX, "price", regex="."), ["'price'", "it has row, text, label"]),
        (named(REGEX, regex="("), [f"{REGEX}.text", "correct it"]),
    ],
)
def test_what_does_not_fit_the_table_is_one_line(table: Table, expectation: dict[str, Any], words: list[str]) -> None:
    table.texts()
    with pytest.raises(ConfigError) as caught:
        table.check(expectation)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in ["validation.expectations", *words]), message


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        (named("expect_column_values_to_match_regexp", regex="."), [f"did you mean '{REGEX}'?"]),
        (named("nonsense"), ["nonsense", "https://greatexpectations.io/expectations"]),
        (named(REGEX, regexp="."), [REGEX, "'regexp'", "did you mean 'regex'?"]),
        (named("expect_column_value_lengths_to_equal"), ["value"]),
        (named(REGEX, regex=".", mostly=7), [REGEX, "mostly"]),
        ({"type": REGEX, "column": "text", "kwargs": {"column": "text", "regex": "."}}, [REGEX, "twice"]),
        (named(REGEX, None, regex="."), [REGEX, "column"]),
        ({**named(REGEX, regex="."), "severity": "fatal"}, ["validation.expectations.severity", "fatal"]),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_fetched(expectation: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("spam-demo", [f"validation.expectations={json.dumps([expectation])}"])
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in ["validation.expectations", *words]), message


@pytest.mark.ci
def test_every_expectation_runs_or_says_in_one_line_why_not(table: Table) -> None:
    from great_expectations.expectations.registry import list_registered_expectation_implementations as known

    table.texts()
    for kind in sorted(known()):
        for column in ("text", None):
            with suppress(ValidationError):
                expectation = named(kind, column)
                ValidationConfig.model_validate({"labels": ["ham", "spam"], "expectations": [expectation]})
                with suppress(ConfigError, DataRejected):  # anything else would be a traceback
                    table.check(expectation)


def test_instructions_are_checked_as_texts_are(tmp_path: Path) -> None:
    entries = [(f"Say {number}.", "", f"It is {number}.", "say") for number in range(30)] + [("Hm.", "", "Oh!", "moan")]
    frame = pd.DataFrame(entries, columns=["instruction", "input", "output", "task"])
    frame.insert(0, "row", range(1, 32))
    frame.to_parquet(tmp_path / "in.parquet", index=False)
    rules = InstructionValidationConfig.model_validate(
        {
            "expectations": [
                named(REGEX, "output", regex=r"\.$"),
                named("expect_column_values_to_be_in_set", "task", value_set=["say"], mostly=0.9),
                named(DISTINCT, "output", min_value=100),
            ]
        }
    )
    table, template = tmp_path / "in.parquet", TEMPLATES["alpaca"]
    facts = dict(validate_instructions(table, rules, template, "sample://vocabulary.tiktoken", None, 256, tmp_path))
    assert facts["rejected"] == {f"{REGEX}.output": 1}
    assert [each["success"] for each in facts["expectations"][-3:]] == [False, True, False]
    assert pq.read_table(tmp_path / "rejected.parquet")["instruction"].to_pylist() == ["Hm."]
    assert len(facts["warnings"]) == 2
