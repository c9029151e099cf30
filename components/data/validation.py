"""Validation with Great Expectations: what fails is named, counted and kept beside.

Expectations are evaluated in three passes, each on the rows that the one before left:
columns and values on the whole table; repeated texts on the rows whose values are fine; numbers of rows and
classes on what will be used. Every verdict in the report is Great Expectations' own.
https://docs.greatexpectations.io/docs/core/define_expectations/
"""

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.data.rules import COLUMNS, ValidationConfig
from components.data.validation_report import FailingRow, Finding, Report, counted, quoted, versions, write_report
from components.data.validation_rows import failing_positions, frame_of, read, rejected_rows, write_rejected
from components.errors import DataRejected, GradusError
from components.records import Facts

if TYPE_CHECKING:
    import pandas as pd

PACKAGES = ("great_expectations", "pandas", "pyarrow")
ROW_CHECKS = {
    "label_in_set": "label",
    "text_not_null": "text",
    "text_not_blank": "text",
    "text_length": "text",
}
"""The expectations about single rows, and the column that each needs."""

# Spelled out, because pandas may hand a pattern to RE2, in which \s means ASCII white space only.
VISIBLE = "[^\\s\x0b\x1c-\x1f\x85\xa0\u1680\u180e\u2000-\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]"


def validate(table: Path, rules: ValidationConfig, out: Path) -> Facts:
    """Check a Parquet table (`row`, `text`, `label`) and write what may be used to `out/table.parquet`.

    Beside it stand `rejected.parquet` (`row`, `text`, `label`, `reason`), `report.json` and `report.html`. Accepted
    rows keep their order, values and further columns.

    Raises:
        DataRejected: if an expectation of severity `error` is not met, or no row is left. All files but
            `table.parquet` are written.
        TableError: if `table` is not a Parquet file, or a column has another type than text (`row`: integer).
    """
    import pyarrow.parquet as pq

    source = read(table)
    frame = frame_of(source)
    engine = Engine()
    findings = _examine(engine, frame, rules)
    rejected = rejected_rows(frame, findings)
    left = frame.drop(index=rejected.index)
    report = Report(
        labels=rules.labels,
        rows_in=len(frame),
        rows_out=len(left),
        class_counts=_class_counts(left, rules.labels),
        findings=findings,
        failing_rows=[FailingRow(*values) for values in rejected.itertuples(index=False, name=None)],
        versions=versions(PACKAGES),
    )
    write_report(report, {"rules": rules.model_dump(), "evaluations": engine.log}, out)
    write_rejected(report.failing_rows, out / "rejected.parquet")
    if report.errors:
        raise DataRejected(report.message(), evidence=out)
    pq.write_table(source.filter(frame.index.isin(left.index)), out / "table.parquet")
    return report.facts()


def _great_expectations() -> Any:
    # Loaded on use: importing it takes seconds.
    import great_expectations.expectations

    return great_expectations


@dataclass
class Outcome:
    """What Great Expectations says of one of our expectations, which may take several of theirs."""

    success: bool = True
    failing: set[Any] = field(default_factory=set)
    """Index values of the failing rows."""
    observed: Any = None
    """The observed value, of expectations that have one."""


class Engine:
    """Great Expectations in memory: no project folder, no progress bar, nothing sent anywhere.

    It hashes every frame that it is given, twice: hand over the columns that are needed.
    """

    def __init__(self) -> None:
        context = _great_expectations().get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        asset = context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
        self._batches = asset.add_batch_definition_whole_dataframe("whole")
        self.log: list[dict[str, Any]] = []
        """Every evaluation: its kind, arguments, success and figures."""

    def run(self, frame: "pd.DataFrame", expectations: list[Any]) -> dict[str, Outcome]:
        """Evaluate expectations on a frame, and gather the results by the name in their `meta`.

        Raises:
            GradusError: if an expectation could not be evaluated.
        """
        suite = _great_expectations().ExpectationSuite(name="expectations", expectations=expectations)
        evaluated = self._batches.get_batch({"dataframe": frame}).validate(
            suite, result_format={"result_format": "COMPLETE", "return_unexpected_index_query": False}
        )
        outcomes: dict[str, Outcome] = {}
        # They come in no particular order.
        for result in sorted(evaluated.to_json_dict()["results"], key=_place):
            self._gather(result, outcomes)
        return outcomes

    def _gather(self, result: dict[str, Any], outcomes: dict[str, Outcome]) -> None:
        name = result["expectation_config"]["meta"]["name"]
        if trouble := _exception(result["exception_info"]):
            raise GradusError(f"Great Expectations could not evaluate {name}: {trouble}")
        outcome = outcomes.setdefault(name, Outcome())
        outcome.success &= result["success"]
        outcome.failing.update(result["result"].get("unexpected_index_list") or ())
        outcome.observed = result["result"].get("observed_value", outcome.observed)
        self.log.append(_record(name, result))


def _place(result: dict[str, Any]) -> tuple[str, str]:
    config = result["expectation_config"]
    return config["meta"]["name"], config["type"]


def _exception(info: dict[str, Any]) -> str | None:
    # Either the information itself, or one a metric that failed.
    for entry in [info, *(value for value in info.values() if isinstance(value, dict))]:
        if entry.get("raised_exception"):
            return " ".join(str(entry["exception_message"]).split())
    return None


def _record(name: str, result: dict[str, Any]) -> dict[str, Any]:
    # Lists of failing values stay out: they stand in rejected.parquet, and here they would fill the report.
    config = result["expectation_config"]
    figures = ("element_count", "missing_count", "unexpected_count", "unexpected_percent", "observed_value", "details")
    return {
        "name": name,
        "expectation": config["type"],
        "arguments": {key: value for key, value in config["kwargs"].items() if key != "batch_id"},
        "success": result["success"],
        "result": {key: _finite(result["result"][key]) for key in figures if key in result["result"]},
    }


def _finite(value: Any) -> Any:
    # JSON has no infinity, which is the ratio to a class without rows.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _examine(engine: Engine, frame: "pd.DataFrame", rules: ValidationConfig) -> list[Finding]:
    findings = _check_values(engine, frame, rules)
    left = frame.drop(index=failing_positions(findings))
    findings.append(_check_duplicates(engine, left, rules))
    left = left.drop(index=list(findings[-1].failing))
    return findings + _check_table(engine, left, rules, rows_in=len(frame))


def _check_values(engine: Engine, frame: "pd.DataFrame", rules: ValidationConfig) -> list[Finding]:
    # On no rows these would all hold, which says nothing; on a missing column they raise.
    runs = [name for name, column in ROW_CHECKS.items() if len(frame) and column in frame]
    values = [each for each in _value_expectations(rules) if each.meta["name"] in runs]
    outcomes = engine.run(frame, [_columns_expectation(), *values])
    missing = [column for column in COLUMNS if column not in frame]
    observed = f"no column {', '.join(missing)}" if missing else ", ".join(COLUMNS)
    findings = [_finding("columns", rules, outcomes["columns"], observed)]
    for name, column in ROW_CHECKS.items():
        if name not in runs:
            findings.append(_not_run(name, rules, frame, column))
            continue
        observed = f"{len(frame) - len(outcomes[name].failing):,} of {counted(len(frame), 'row')}"
        findings.append(_finding(name, rules, outcomes[name], observed, rows=len(frame)))
    return findings


def _columns_expectation() -> Any:
    gxe = _great_expectations().expectations
    return gxe.ExpectTableColumnsToMatchSet(column_set=list(COLUMNS), exact_match=False, meta={"name": "columns"})


def _value_expectations(rules: ValidationConfig) -> list[Any]:
    gxe = _great_expectations().expectations
    length = rules.text_length
    return [
        gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(rules.labels), meta={"name": "label_in_set"}),
        # Nulls pass a set, so a missing label needs an expectation of its own.
        gxe.ExpectColumnValuesToNotBeNull(column="label", meta={"name": "label_in_set"}),
        gxe.ExpectColumnValuesToNotBeNull(column="text", meta={"name": "text_not_null"}),
        gxe.ExpectColumnValuesToMatchRegex(column="text", regex=VISIBLE, meta={"name": "text_not_blank"}),
        gxe.ExpectColumnValueLengthsToBeBetween(
            column="text", min_value=length.min, max_value=length.max, meta={"name": "text_length"}
        ),
    ]


def _check_duplicates(engine: Engine, frame: "pd.DataFrame", rules: ValidationConfig) -> Finding:
    if not len(frame) or "text" not in frame:
        return _not_run("duplicates", rules, frame, "text")
    # Rounded, so that a share of exactly max_share passes: 1 - 0.7 is a little more than 3 / 10.
    unique = _great_expectations().expectations.ExpectColumnProportionOfUniqueValuesToBeBetween(
        column="text", min_value=round(1 - rules.duplicates.max_share, 12), meta={"name": "duplicates"}
    )
    outcome = engine.run(frame[["text"]], [unique])["duplicates"]
    copies = frame.index[frame["text"].duplicated()].tolist()
    if not outcome.success:
        outcome.failing.update(copies)
    detail = f"{len(copies):,} of {counted(len(frame), 'row')}"
    return _finding(
        "duplicates", rules, outcome, f"{100 * (1 - outcome.observed):.2f} %", detail=detail, rows=len(frame)
    )


def _check_table(engine: Engine, frame: "pd.DataFrame", rules: ValidationConfig, rows_in: int) -> list[Finding]:
    count = _great_expectations().expectations.ExpectTableRowCountToBeBetween(
        min_value=rules.rows.min, max_value=rules.rows.max, meta={"name": "rows"}
    )
    outcome = engine.run(frame.iloc[:, :0], [count])["rows"]
    rows = _finding("rows", rules, outcome, counted(outcome.observed, "row"))
    if not len(frame):
        # Nothing can go on without a row, whatever the severity.
        rows = replace(rows, severity="error", detail="every row fails" if rows_in else "the table is empty")
    return [rows, *_check_classes(engine, frame, rules)]


def _check_classes(engine: Engine, frame: "pd.DataFrame", rules: ValidationConfig) -> list[Finding]:
    if not len(frame) or "label" not in frame:
        return [_not_run(name, rules, frame, "label") for name in ("rows_per_class", "class_ratio")]
    outcomes = engine.run(_classes(frame, rules.labels), _class_expectations(rules))
    counts = _class_counts(frame, rules.labels)
    smallest, largest = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    small = [quoted(label, 30) for label in rules.labels if label in outcomes["rows_per_class"].failing]
    # Its failing "rows" are classes, not rows of the table.
    outcomes["rows_per_class"].failing.clear()
    fewest, most = (f"{counted(counts[label], 'row')} of {quoted(label, 30)}" for label in (smallest, largest))
    ratio = f"{outcomes['class_ratio'].observed:.2f}" if counts[smallest] else "no ratio"
    return [
        _finding("rows_per_class", rules, outcomes["rows_per_class"], fewest, detail=_too_few(small)),
        _finding("class_ratio", rules, outcomes["class_ratio"], ratio, detail=f"{most}, {fewest}"),
    ]


def _too_few(labels: list[str]) -> str:
    return f"too few of {', '.join(labels)}" if labels else ""


def _class_expectations(rules: ValidationConfig) -> list[Any]:
    gxe = _great_expectations().expectations
    fewest, most = rules.rows_per_class.min, rules.class_ratio.max
    return [
        gxe.ExpectColumnValuesToBeBetween(column="rows", min_value=fewest, meta={"name": "rows_per_class"}),
        gxe.ExpectColumnMaxToBeBetween(column="ratio", max_value=most, meta={"name": "class_ratio"}),
    ]


def _classes(frame: "pd.DataFrame", labels: list[str]) -> "pd.DataFrame":
    # Great Expectations has nothing that compares classes, so it is given a table with a class a line.
    import pandas as pd

    counts = pd.Series(_class_counts(frame, labels))
    return pd.DataFrame({"rows": counts, "ratio": counts.max() / counts})


def _finding(
    name: str, rules: ValidationConfig, outcome: Outcome, observed: str, *, detail: str = "", rows: int = 0
) -> Finding:
    return Finding(
        name=name,
        severity=rules.severity(name),
        success=outcome.success,
        expected=rules.expected()[name],
        observed=observed,
        detail=detail,
        failing=tuple(sorted(outcome.failing)),
        rows=rows,
        by_row=name in ROW_CHECKS or name == "duplicates",
    )


def _not_run(name: str, rules: ValidationConfig, frame: "pd.DataFrame", column: str) -> Finding:
    detail = "there are no rows" if column in frame else f"there is no column {column}"
    return replace(_finding(name, rules, Outcome(), "", detail=detail), success=None)


def _class_counts(frame: "pd.DataFrame", labels: list[str]) -> dict[str, int]:
    found = Counter(frame.get("label", ()))
    return {label: found[label] for label in labels}
