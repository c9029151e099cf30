import csv
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from components.core.errors import DataRejected, GradusError, TableError
from components.data.validation.engine import Engine
from components.data.validation.labelled import validate
from components.data.validation.rules import ValidationConfig

SMS = Path(__file__).parents[3].parent / "shared/data/sms+spam+collection.zip"
SCHEMA = pa.schema([("row", pa.int64()), ("text", pa.string()), ("label", pa.string())])
NAMES = [
    "columns",
    "label_in_set",
    "text_not_null",
    "text_not_blank",
    "text_length",
    "conflicts",
    "duplicates",
    "rows",
    "rows_per_class",
    "class_ratio",
]

Row = tuple[int, str | None, str | None]


def good_rows(ham: int = 20, spam: int = 20) -> list[Row]:
    labels = ["ham"] * ham + ["spam"] * spam
    return [(number, f"message {number}", label) for number, label in enumerate(labels, start=1)]


def with_rows(*bad: tuple[str | None, str | None]) -> list[Row]:
    """Good rows, and bad ones spread among them: rows 2, 4, 6 and so on."""
    rows = good_rows()
    for place, (text, label) in enumerate(bad):
        rows.insert(2 * place + 1, (0, text, label))
    return [(number, text, label) for number, (_, text, label) in enumerate(rows, start=1)]


class Case:
    """A table on disk, validated into a folder."""

    def __init__(self, folder: Path) -> None:
        self.table = folder / "in.parquet"
        self.out = folder / "out"
        self.out.mkdir()

    def write(self, rows: list[Row]) -> None:
        columns = list(zip(*rows, strict=True)) or [(), (), ()]
        pq.write_table(pa.table([list(column) for column in columns], schema=SCHEMA), self.table)

    def validate(self, rows: list[Row] | None = None, /, **sections: Any) -> dict[str, Any]:
        if rows is not None:
            self.write(rows)
        rules = ValidationConfig.model_validate({"labels": ["ham", "spam"], **sections})
        return dict(validate(self.table, rules, self.out))

    def refuse(self, rows: list[Row] | None = None, /, **sections: Any) -> str:
        with pytest.raises(DataRejected) as caught:
            self.validate(rows, **sections)
        assert not (self.out / "table.parquet").exists()
        assert caught.value.exit_code == 3
        return str(caught.value)

    def accepted(self) -> list[Row]:
        return [tuple(row.values()) for row in pq.read_table(self.out / "table.parquet").to_pylist()]

    def rejected(self) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in pq.read_table(self.out / "rejected.parquet").to_pylist()]

    def report(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.out / "report.json").read_text())
        return content


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def of(facts: Any, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in facts["expectations"] if each["name"] == name)
    return found


# What passes


@pytest.mark.ci
def test_a_clean_table_passes_unchanged(case: Case) -> None:
    facts = case.validate(good_rows(30, 12))
    assert case.accepted() == good_rows(30, 12)
    assert case.rejected() == []
    assert facts["rows_in"] == facts["rows_out"] == 42
    assert facts["rejected"] == {}
    assert facts["warnings"] == []
    assert facts["labels"] == ["ham", "spam"]
    assert facts["class_counts"] == {"ham": 30, "spam": 12}
    assert [each["name"] for each in facts["expectations"]] == NAMES
    assert all(each["success"] is True for each in facts["expectations"])
    assert sorted(path.name for path in case.out.iterdir()) == [
        "rejected.parquet",
        "report.html",
        "report.json",
        "table.parquet",
    ]
    assert pq.read_schema(case.out / "table.parquet").equals(SCHEMA)
    json.dumps(facts, allow_nan=False)


@pytest.mark.ci
def test_accepted_rows_keep_order_values_and_further_columns(case: Case) -> None:
    rows = with_rows((" ", "ham"), (None, "spam"))[::-1]
    columns = dict(zip(SCHEMA.names, map(list, zip(*rows, strict=True)), strict=True))
    source = pa.table({"weight": [0.5 * row[0] for row in rows], **columns})
    pq.write_table(source, case.table)
    case.validate()
    expected = source.filter([row[1] not in (" ", None) for row in rows])
    assert pq.read_table(case.out / "table.parquet").equals(expected)


@pytest.mark.ci
def test_every_verdict_is_one_of_great_expectations(case: Case) -> None:
    case.validate(good_rows())
    evaluations = case.report()["evaluations"]
    assert {each["name"] for each in evaluations} == set(NAMES)
    assert len(evaluations) == len(NAMES) + 1  # a label has to be there, and in the set
    assert all(each["expectation"].startswith("expect_") for each in evaluations)


@pytest.mark.ci
def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    outputs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        case = Case(tmp_path / name)
        case.validate(with_rows((" ", "ham"), ("x", "spm"), (None, None)), label_in_set={"severity": "warn"})
        outputs.append({path.name: path.read_bytes() for path in case.out.iterdir()})
    assert outputs[0] == outputs[1]


# Expectations about rows, as warnings and as errors

BAD_ROWS: dict[str, tuple[tuple[str | None, str | None], dict[str, Any]]] = {
    "label_in_set": (("hello", "spm"), {}),
    "text_not_null": ((None, "ham"), {}),
    "text_not_blank": (("\u00a0 \u200b\u3000\t", "ham"), {}),
    "text_length": (("x" * 51, "spam"), {"max": 50}),
}


@pytest.mark.ci
@pytest.mark.parametrize("name", BAD_ROWS)
def test_rows_that_fail_a_warning_are_left_out(case: Case, name: str) -> None:
    bad, options = BAD_ROWS[name]
    rows = with_rows(bad, bad)
    facts = case.validate(rows, **{name: {"severity": "warn", **options}})
    assert case.accepted() == [row for row in rows if row[0] not in (2, 4)]
    assert case.rejected() == [(2, *bad, name), (4, *bad, name)]
    assert facts["rejected"] == {name: 2}
    assert (facts["rows_in"], facts["rows_out"]) == (42, 40)
    assert of(facts, name)["success"] is False
    assert of(facts, name)["failing_rows"] == 2
    (warning,) = facts["warnings"]
    assert warning.startswith(f"{name}: 2 rows left out")
    assert case.report()["verdict"] == "accepted with warnings"


@pytest.mark.ci
@pytest.mark.parametrize("name", BAD_ROWS)
def test_rows_that_fail_an_error_stop_the_flow(case: Case, name: str) -> None:
    bad, options = BAD_ROWS[name]
    message = case.refuse(with_rows(bad, bad), **{name: {"severity": "error", **options}})
    first, *rest = message.splitlines()
    note = ' (not declared: "spm")' if name == "label_in_set" else ""
    assert first.startswith(f"data rejected by {name}: 2 of 42 rows fail{note}. ")
    assert f"validation.{name}.severity=warn" in first
    assert [line.split()[1] for line in rest if line.startswith("  row ")] == ["2", "4"]
    assert all(line.endswith(name) for line in rest if line.startswith("  row "))
    assert case.rejected() == [(2, *bad, name), (4, *bad, name)]
    assert case.report()["verdict"] == "rejected"
    assert "Data rejected" in (case.out / "report.html").read_text()


@pytest.mark.ci
def test_a_missing_label_is_not_in_the_set(case: Case) -> None:
    message = case.refuse(with_rows(("hello", None)))
    assert "label_in_set: 1 of 41 rows fails" in message
    assert "row 2  label null" in message


@pytest.mark.ci
def test_a_row_can_fail_several_expectations(case: Case) -> None:
    facts = case.validate(
        with_rows(("", "spm"), (None, None)), label_in_set={"severity": "warn"}, text_length={"min": 3}
    )
    assert [row[3] for row in case.rejected()] == [
        "label_in_set;text_not_blank;text_length",
        "label_in_set;text_not_null",
    ]
    assert facts["rejected"] == {"label_in_set": 2, "text_not_null": 1, "text_not_blank": 1, "text_length": 1}
    assert facts["rows_out"] == 40


@pytest.mark.ci
def test_all_expectations_are_named_not_only_the_first_that_fails(case: Case) -> None:
    message = case.refuse(
        with_rows(("hello", "spm"), (None, "ham"), (" ", "ham")),
        text_not_null={"severity": "error"},
        rows={"min": 1000},
        class_ratio={"max": 1},
        rows_per_class={"min": 500, "severity": "warn"},
    )
    first = message.splitlines()[0]
    assert (
        'label_in_set: 1 of 43 rows fails (not declared: "spm"); text_not_null: 1 of 43 rows fails; rows: 40' in first
    )
    assert "text_not_blank" not in first
    assert "  text_not_blank (warn): 1 of 43 rows fails" in message
    assert "  rows_per_class (warn): 20 rows of" in message
    assert "class_ratio" not in message
    assert [row[0] for row in case.rejected()] == [2, 4, 6]


@pytest.mark.ci
@pytest.mark.parametrize("text", ["\n", "\u2028", "\ufeff", "\x85", "\u2003\u200d", ""])
def test_text_that_shows_nothing_is_blank(case: Case, text: str) -> None:
    facts = case.validate(with_rows((text, "ham")), text_length={"min": 0})
    assert facts["rejected"] == {"text_not_blank": 1}


@pytest.mark.ci
@pytest.mark.parametrize("text", [".", "\n a", "\u00e9", "\U0001f600", "nan", "None"])
def test_text_that_shows_something_is_not_blank(case: Case, text: str) -> None:
    assert case.validate(with_rows((text, "ham")))["rejected"] == {}


@pytest.mark.ci
def test_length_counts_characters_not_bytes_and_bounds_are_inclusive(case: Case) -> None:
    rows = with_rows(("\U0001f600" * 20, "ham"), ("\u00e9" * 21, "ham"), ("abcd", "ham"), ("abc", "ham"))
    case.validate(rows, text_length={"min": 4, "max": 20})
    assert [row[0] for row in case.rejected()] == [4, 8]


@pytest.mark.ci
@pytest.mark.parametrize("labels", [["0", "1"], ["$ham", "${HOME}"], ["a'b", 'c"d'], ["2020-01-01", "nan"]])
def test_labels_are_taken_as_they_are(case: Case, labels: list[str]) -> None:
    rows: list[Row] = [(number, f"message {number}", labels[number % 2]) for number in range(40)]
    facts = case.validate(rows, labels=labels)
    assert facts["class_counts"] == {labels[0]: 20, labels[1]: 20}


@pytest.mark.ci
def test_twenty_rows_are_shown_and_all_are_in_the_file(case: Case) -> None:
    bad = [(f"text {number}", "spm") for number in range(25)] + [(None, "ham")] * 3
    message = case.refuse(with_rows(*bad), text_not_null={"severity": "error"})
    shown = [line for line in message.splitlines() if line.startswith("  row ")]
    assert len(shown) == 20
    assert sum(line.endswith("text_not_null") for line in shown) == 3  # every reason has its turn
    assert "and 8 further rows; rejected.parquet has all of them" in message
    assert len(case.rejected()) == 28
    assert "20 of 28" in (case.out / "report.html").read_text()


@pytest.mark.ci
def test_a_message_shows_no_control_characters_and_cuts_long_texts(case: Case) -> None:
    message = case.refuse(with_rows(("a\x1b[31m\nb\u202e" + "x" * 100, "\x07spm")))
    (line,) = [line for line in message.splitlines() if line.startswith("  row ")]
    assert line.isprintable()
    assert len(line) < 120


# Repeated texts


def copies(unique: int, repeated: int) -> list[Row]:
    texts = [f"text {number}" for number in range(unique)] + ["text 0"] * repeated
    labels = [("spam", "ham")[int(text.split()[1]) % 2] for text in texts]
    return [(number, *row) for number, row in enumerate(zip(texts, labels, strict=True), start=1)]


@pytest.mark.ci
@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.7])
def test_a_share_of_exactly_the_most_allowed_passes(case: Case, share: float) -> None:
    rows = copies(100 - round(100 * share), round(100 * share))
    facts = case.validate(rows, duplicates={"max_share": share})
    assert of(facts, "duplicates")["success"] is True
    assert of(facts, "duplicates")["observed"] == f"{100 * share:.2f} %"
    assert case.accepted() == rows


@pytest.mark.ci
def test_later_copies_are_left_out_when_they_are_too_many(case: Case) -> None:
    rows = copies(40, 11)
    facts = case.validate(rows)
    assert case.accepted() == rows[:40]
    assert [(row[0], row[3]) for row in case.rejected()] == [(number, "duplicates") for number in range(41, 52)]
    assert facts["rejected"] == {"duplicates": 11}


@pytest.mark.ci
def test_copies_that_are_left_out_do_not_count_as_rows(case: Case) -> None:
    message = case.refuse(copies(40, 11), rows={"min": 41})
    assert message.startswith("data rejected by rows: 40 rows. ")


@pytest.mark.ci
def test_too_many_copies_stop_the_flow(case: Case) -> None:
    message = case.refuse(copies(40, 11), duplicates={"severity": "error"})
    assert message.startswith("data rejected by duplicates: 11 of 51 rows fail.")
    assert "row 41 " in message
    assert len(case.rejected()) == 11


@pytest.mark.ci
def test_rows_that_are_left_out_anyway_are_not_copies(case: Case) -> None:
    facts = case.validate(with_rows(*[("", "ham")] * 30), duplicates={"max_share": 0})
    assert of(facts, "duplicates")["success"] is True
    assert all(row[3] == "text_not_blank;text_length" for row in case.rejected())


# Expectations about the table


TABLES: dict[str, tuple[list[Row], dict[str, Any]]] = {
    "rows": (good_rows(10, 9), {"rows_per_class": {"min": 1}}),
    "rows_per_class": (good_rows(20, 9), {}),
    "class_ratio": (good_rows(31, 10), {"class_ratio": {"max": 3}}),
}


@pytest.mark.ci
@pytest.mark.parametrize("name", TABLES)
def test_a_warning_about_the_table_leaves_nothing_out(case: Case, name: str) -> None:
    rows, sections = TABLES[name]
    facts = case.validate(rows, **{**sections, name: {**sections.get(name, {}), "severity": "warn"}})
    assert case.accepted() == rows
    assert [each["name"] for each in facts["expectations"] if not each["success"]] == [name]
    assert of(facts, name)["failing_rows"] == 0
    (warning,) = facts["warnings"]
    assert warning.startswith(f"{name}: ")


@pytest.mark.ci
@pytest.mark.parametrize("name", TABLES)
def test_an_error_about_the_table_stops_the_flow(case: Case, name: str) -> None:
    rows, sections = TABLES[name]
    message = case.refuse(rows, **{**sections, name: {**sections.get(name, {}), "severity": "error"}})
    assert message.startswith(f"data rejected by {name}: ")
    assert case.rejected() == []


@pytest.mark.ci
def test_more_rows_than_allowed(case: Case) -> None:
    assert "rows: 40 rows. " in case.refuse(good_rows(), rows={"max": 39})
    assert case.validate(good_rows(), rows={"max": 40})["rows_out"] == 40


@pytest.mark.ci
def test_a_ratio_of_exactly_the_most_allowed_passes(case: Case) -> None:
    assert of(case.validate(good_rows(30, 10), class_ratio={"max": 3}), "class_ratio")["observed"] == "3.00"


def test_a_class_without_rows(case: Case) -> None:
    options = {"labels": ["ham", "spam", "other"], "rows_per_class": {"severity": "warn"}}
    facts = case.validate(good_rows(), **options)
    assert facts["class_counts"] == {"ham": 20, "spam": 20, "other": 0}
    assert "other" in of(facts, "rows_per_class")["detail"]
    assert of(facts, "class_ratio")["success"] is False
    assert case.report()["expectations"] == facts["expectations"]


@pytest.mark.ci
def test_all_rows_of_one_class(case: Case) -> None:
    (first, *rest) = case.refuse(good_rows(40, 0)).splitlines()
    assert first == (
        'data rejected by rows_per_class: 0 rows of "spam" (too few of "spam"). Collect more rows, lower '
        "validation.rows_per_class.min, or take the class out of validation.labels."
    )
    assert all(line.startswith(("  rows_per_class (error)", "  class_ratio (warn)")) for line in rest)


@pytest.mark.ci
def test_undeclared_labels_are_named_a_few_of_them(case: Case) -> None:
    first = case.refuse(with_rows(*((f"hello {number}", f"label{number}") for number in range(9)))).splitlines()[0]
    assert (
        'label_in_set: 9 of 49 rows fail (not declared: "label0", "label1", "label2", "label3", "label4", ...)' in first
    )
    assert "declare the label in validation.labels, or set validation.label_in_set.severity=warn" in first


@pytest.mark.ci
def test_numbers_are_of_the_rows_that_are_left(case: Case) -> None:
    rows = [(number, text if label == "ham" or number > 30 else " ", label) for number, text, label in good_rows()]
    message = case.refuse(rows, rows_per_class={"min": 11})
    assert 'data rejected by rows_per_class: 10 rows of "spam"' in message


def test_an_empty_table_is_rejected_whatever_the_severity(case: Case) -> None:
    message = case.refuse([], rows={"severity": "warn"}, rows_per_class={"severity": "warn"})
    assert message.splitlines()[0].startswith("data rejected by rows: 0 rows (the table is empty). ")
    unsaid = {each["name"] for each in case.report()["expectations"] if each["success"] is None}
    assert unsaid == set(NAMES) - {"columns", "rows"}  # what holds for no row at all is no success


@pytest.mark.ci
def test_a_table_of_which_every_row_fails_is_rejected(case: Case) -> None:
    rows: list[Row] = [(number, " ", "ham") for number in range(1, 31)]
    message = case.refuse(rows, rows={"severity": "warn"})
    assert message.splitlines()[0].startswith("data rejected by rows: 0 rows (every row fails). ")
    assert sum(line.startswith("  row ") for line in message.splitlines()) == 20
    assert len(case.rejected()) == 30


# Columns


@pytest.mark.ci
@pytest.mark.parametrize("missing", ["text", "label", "row"])
def test_a_missing_column_is_a_failed_expectation(case: Case, missing: str) -> None:
    case.write(with_rows((" ", "ham")))
    pq.write_table(pq.read_table(case.table).drop_columns([missing]), case.table)
    message = case.refuse()
    assert message.splitlines()[0].startswith(f"data rejected by columns: no column {missing}. ")
    findings = {each["name"]: each["success"] for each in case.report()["expectations"]}
    assert findings["columns"] is False
    assert findings["label_in_set"] is (None if missing == "label" else True)
    assert findings["text_not_blank"] is (None if missing == "text" else False)
    assert findings["rows"] is True


@pytest.mark.ci
def test_a_missing_column_can_be_a_warning(case: Case) -> None:
    case.write(with_rows((" ", "ham")))
    pq.write_table(pq.read_table(case.table).drop_columns(["row"]), case.table)
    facts = case.validate(columns={"severity": "warn"})
    assert facts["rows_out"] == 40
    assert case.rejected() == [(2, " ", "ham", "text_not_blank")]  # numbered by place
    assert facts["warnings"][0] == ("columns: no column row; expected: the table has the columns row, text, label.")


def test_an_empty_table_without_columns(case: Case) -> None:
    pq.write_table(pa.table({"other": pa.array([], pa.int8())}), case.table)
    message = case.refuse()
    assert "columns: no column row, text, label; rows: 0 rows" in message


@pytest.mark.parametrize(
    ("column", "values"), [("label", [0, 1]), ("text", [1.5, 2.5]), ("row", ["1", "2"]), ("row", [1, None])]
)
def test_a_column_of_another_type_is_no_table_of_ours(case: Case, column: str, values: list[Any]) -> None:
    columns = {"row": [1, 2], "text": ["a", "b"], "label": ["ham", "spam"], column: values}
    pq.write_table(pa.table(columns), case.table)
    with pytest.raises(TableError, match=f"column '{column}' has"):
        case.validate()


@pytest.mark.ci
def test_other_ways_to_store_text_are_fine(case: Case) -> None:
    case.write(good_rows())
    source = pq.read_table(case.table)
    source = source.set_column(2, "label", source["label"].dictionary_encode())
    source = source.set_column(1, "text", source["text"].cast(pa.large_string()))
    pq.write_table(source, case.table)
    assert case.validate()["class_counts"] == {"ham": 20, "spam": 20}
    assert pq.read_table(case.out / "table.parquet").equals(source)


def test_a_file_that_is_no_parquet(case: Case) -> None:
    case.table.write_text("row,text,label\n")
    with pytest.raises(TableError, match=r"in\.parquet cannot be read as a Parquet table"):
        case.validate()
    case.table.unlink()
    with pytest.raises(TableError):
        case.validate()


# Great Expectations itself


def test_an_expectation_that_cannot_be_evaluated_is_an_error() -> None:
    from great_expectations.expectations.core.expect_column_max_to_be_between import ExpectColumnMaxToBeBetween

    unknown = ExpectColumnMaxToBeBetween(column="nowhere", max_value=1, meta={"name": "ratio"})
    with pytest.raises(GradusError, match=r'could not evaluate ratio: .*"nowhere"'):
        Engine().run(pd.DataFrame({"here": [1]}), [unknown])


@pytest.mark.ci
def test_nothing_is_left_behind_or_printed(case: Case, tmp_path: Path) -> None:
    case.write(good_rows())
    places = {name: tmp_path / name for name in ("HOME", "TMPDIR", "CWD")}
    for place in places.values():
        place.mkdir()
    code = (
        "import sys; from pathlib import Path; from components.data.validation import labelled as validation, rules;"
        "assert not {'great_expectations', 'jinja2'} & set(sys.modules);"
        f"validation.validate(Path({str(case.table)!r}), rules.ValidationConfig(labels=['ham', 'spam']),"
        f" Path({str(case.out)!r}))"
    )
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, **{name: str(path) for name, path in places.items()}, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=places["CWD"], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not [path for place in places.values() for path in place.rglob("*")]


# The rules


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": ["ham"]},
        {"labels": ["ham", "ham"]},
        {"labels": ["ham", ""]},
        {"rows": {"min": 30, "max": 20}},
        {"text_length": {"min": 2, "max": 1}},
        {"duplicates": {"max_share": 1.1}},
        {"class_ratio": {"max": 0.5}},
        {"rows": {"min": 0}},
        {"columns": {"severity": "fatal"}},
        {"text_lenght": {"max": 3}},
    ],
)
def test_rules_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ValidationConfig.model_validate({"labels": ["ham", "spam"], **wrong})


def test_a_part_of_a_section_keeps_the_rest() -> None:
    rules = ValidationConfig.model_validate({"labels": ["ham", "spam"], "text_length": {"max": 500}})
    assert (rules.text_length.min, rules.text_length.max, rules.text_length.severity) == (1, 500, "warn")
    assert list(ValidationConfig.model_fields) == ["labels", "ordered", *NAMES, "expectations"]


# Real data


@pytest.fixture
def sms(case: Case) -> pd.DataFrame:
    if not SMS.is_file():
        pytest.skip(f"the SMS Spam Collection is not at {SMS}")
    with zipfile.ZipFile(SMS) as archive:
        raw = archive.read("SMSSpamCollection")
    frame = pd.read_csv(
        io.BytesIO(raw),
        sep="\t",
        header=None,
        names=["label", "text"],
        quoting=csv.QUOTE_NONE,
        dtype="str",
        keep_default_na=False,
    )
    frame.insert(0, "row", range(1, len(frame) + 1))
    frame = frame[["row", "text", "label"]]
    pq.write_table(pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False), case.table)
    return frame


@pytest.mark.ci
def test_the_sms_collection_passes_with_defaults(
    case: Case, sms: pd.DataFrame, record_property: Callable[[str, object], None]
) -> None:
    Engine()  # the import is not what is timed
    started = time.perf_counter()
    facts = case.validate()
    record_property("seconds", round(time.perf_counter() - started, 3))
    assert facts["rows_in"] == facts["rows_out"] == 5574
    assert facts["class_counts"] == {"ham": 4827, "spam": 747}
    assert facts["warnings"] == []
    assert of(facts, "duplicates")["detail"] == "403 of 5,574 rows"
    assert of(facts, "class_ratio")["observed"] == "6.46"
    assert case.accepted() == list(sms.itertuples(index=False, name=None))


@pytest.mark.ci
def test_the_copies_of_the_sms_collection_can_be_left_out(case: Case, sms: pd.DataFrame) -> None:
    facts = case.validate(duplicates={"max_share": 0.05})
    assert facts["rejected"] == {"duplicates": 403}
    assert [row[0] for row in case.accepted()] == sms.drop_duplicates("text")["row"].tolist()
