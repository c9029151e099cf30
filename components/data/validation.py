"""Validation with Great Expectations: what fails is named, counted and kept beside.

Expectations are evaluated in three passes, each on the rows that the one before left:
columns and values on the whole table, a batch at a time; repeated texts on the rows whose values are fine; numbers of
rows and classes on what will be used. Every verdict in the report is Great Expectations' own.
https://docs.greatexpectations.io/docs/core/define_expectations/
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from components.data.batches import hashed
from components.data.rules import COLUMNS, ValidationConfig
from components.data.validation_engine import (
    ROW_CHECKS,
    Engine,
    Outcome,
    class_expectations,
    columns_expectation,
    duplicates_expectation,
    rows_expectation,
    value_expectations,
)
from components.data.validation_report import Finding, Report, counted, quoted, versions, write_report
from components.data.validation_rows import Marks, Source, write_rejected
from components.errors import DataRejected
from components.records import Facts

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LABELS_SHOWN = 5
PACKAGES = ("great_expectations", "pandas", "pyarrow")


def validate(table: Path, rules: ValidationConfig, out: Path) -> Facts:
    """Check a Parquet table (`row`, `text`, `label`) and write what may be used to `out/table.parquet`.

    Beside it stand `rejected.parquet` (`row`, `text`, `label`, `reason`), `report.json` and `report.html`. Accepted
    rows keep their order, values and further columns. In memory are a batch of rows and nine bytes a row.

    Raises:
        DataRejected: if an expectation of severity `error` is not met, or no row is left. All files but
            `table.parquet` are written.
        TableError: if `table` is not a Parquet file, or a column has another type than text (`row`: integer).
    """
    source = Source(table)
    engine = Engine()
    marks = Marks(source.rows, (*ROW_CHECKS, "duplicates"))
    findings = [*_check_values(engine, source, rules, marks)]
    kept = marks.kept
    counts = _class_counts(source.label_counts(kept), rules.labels)
    findings += _check_table(engine, source, int(kept.sum()), counts, rules)
    reasons, failing_rows = write_rejected(source, marks, out / "rejected.parquet")
    report = Report(
        labels=rules.labels,
        rows_in=source.rows,
        rows_out=int(kept.sum()),
        class_counts=counts,
        findings=findings,
        failing_rows=failing_rows,
        reasons=reasons,
        versions=versions(PACKAGES),
    )
    write_report(report, {"rules": rules.model_dump(), "evaluations": engine.log}, out)
    if report.errors:
        rejected = DataRejected(report.message())
        rejected.evidence = out
        raise rejected
    source.write(kept, out / "table.parquet")
    return {**report.facts(), "ordered": rules.ordered}


def _check_values(engine: Engine, source: Source, rules: ValidationConfig, marks: Marks) -> list[Finding]:
    """Check columns and values batch by batch, then repeated texts, and mark the rows that fail."""
    import numpy as np

    # On no rows these would all hold, which says nothing; on a missing column they raise.
    runs = [name for name, column in ROW_CHECKS.items() if source.rows and column in source.columns]
    expectations = [columns_expectation(), *(e for e in value_expectations(rules) if e.meta["name"] in runs)]
    whole = {name: Outcome() for name in ("columns", *runs)}
    hashes = np.zeros(source.rows, np.uint64)
    undeclared: dict[str, None] = {}
    for frame in source.frames():
        for name, outcome in engine.run(frame, expectations).items():
            whole[name].success &= outcome.success
            if name in runs:
                marks.add(name, outcome.failing)
            if name == "label_in_set" and len(undeclared) <= LABELS_SHOWN:
                undeclared |= dict.fromkeys(frame["label"].loc[sorted(outcome.failing)].dropna())
        if "text" in frame:
            positions = frame.index.to_numpy()
            positions = positions[marks.kept_of(positions)]
            hashes[positions] = hashed(frame["text"].loc[positions].to_numpy(object))
    findings = [_columns_finding(source, rules, whole["columns"])]
    for name, column in ROW_CHECKS.items():
        if name not in runs:
            findings.append(_not_run(name, rules, source, column))
            continue
        failing = marks.failing(name)
        observed = f"{source.rows - failing:,} of {counted(source.rows, 'row')}"
        finding = _finding(name, rules, whole[name], observed, failing=failing, rows=source.rows)
        findings.append(replace(finding, note=_names(list(undeclared))) if name == "label_in_set" else finding)
    return [*findings, _check_duplicates(engine, source, hashes, rules, marks)]


def _names(labels: list[str]) -> str:
    shown = ", ".join(quoted(label, 30) for label in labels[:LABELS_SHOWN])
    return f"not declared: {shown}{', ...' if len(labels) > LABELS_SHOWN else ''}" if labels else ""


def _columns_finding(source: Source, rules: ValidationConfig, outcome: Outcome) -> Finding:
    missing = [column for column in COLUMNS if column not in source.columns]
    observed = f"no column {', '.join(missing)}" if missing else ", ".join(COLUMNS)
    return _finding("columns", rules, outcome, observed)


def _check_duplicates(
    engine: Engine, source: Source, hashes: "np.ndarray", rules: ValidationConfig, marks: Marks
) -> Finding:
    import pandas as pd

    left = marks.kept.nonzero()[0]
    if not len(left) or "text" not in source.columns:
        return _not_run("duplicates", rules, source, "text")
    # Texts are the same where their hashes are, which take far less room.
    texts = pd.Series(hashes[left])
    outcome = engine.run(pd.DataFrame({"text": texts}), [duplicates_expectation(rules)])["duplicates"]
    copies = left[texts.duplicated().to_numpy()]
    if not outcome.success:
        marks.add("duplicates", copies)
    detail = f"{len(copies):,} of {counted(len(left), 'row')}"
    observed = f"{100 * (1 - outcome.observed):.2f} %"
    failing = marks.failing("duplicates")
    return _finding("duplicates", rules, outcome, observed, detail=detail, failing=failing, rows=len(left))


def _check_table(
    engine: Engine, source: Source, left: int, counts: dict[str, int], rules: ValidationConfig
) -> list[Finding]:
    import pandas as pd

    outcome = engine.run(pd.DataFrame(index=pd.RangeIndex(left)), [rows_expectation(rules)])["rows"]
    rows = _finding("rows", rules, outcome, counted(outcome.observed, "row"))
    if not left:
        # Nothing can go on without a row, whatever the severity.
        rows = replace(rows, severity="error", detail="every row fails" if source.rows else "the table is empty")
    if not left or "label" not in source.columns:
        return [rows, *(_not_run(name, rules, source, "label") for name in ("rows_per_class", "class_ratio"))]
    return [rows, *_check_classes(engine, counts, rules)]


def _check_classes(engine: Engine, counts: dict[str, int], rules: ValidationConfig) -> list[Finding]:
    outcomes = engine.run(_classes(counts), class_expectations(rules))
    smallest, largest = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    # The "rows" that fail here are classes.
    small = [quoted(label, 30) for label in rules.labels if label in outcomes["rows_per_class"].failing]
    fewest, most = (f"{counted(counts[label], 'row')} of {quoted(label, 30)}" for label in (smallest, largest))
    ratio = f"{outcomes['class_ratio'].observed:.2f}" if counts[smallest] else "no ratio"
    return [
        _finding("rows_per_class", rules, outcomes["rows_per_class"], fewest, detail=_too_few(small)),
        _finding("class_ratio", rules, outcomes["class_ratio"], ratio, detail=f"{most}, {fewest}"),
    ]


def _too_few(labels: list[str]) -> str:
    return f"too few of {', '.join(labels)}" if labels else ""


def _classes(counts: dict[str, int]) -> "pd.DataFrame":
    # Great Expectations has nothing that compares classes, so it is given a table with a class a line.
    import pandas as pd

    rows = pd.Series(counts)
    return pd.DataFrame({"rows": rows, "ratio": rows.max() / rows})


def _finding(
    name: str,
    rules: ValidationConfig,
    outcome: Outcome,
    observed: str,
    *,
    detail: str = "",
    failing: int = 0,
    rows: int = 0,
) -> Finding:
    return Finding(
        name=name,
        severity=rules.severity(name),
        success=outcome.success,
        expected=rules.expected()[name],
        observed=observed,
        detail=detail,
        failing=failing,
        rows=rows,
        by_row=name in ROW_CHECKS or name == "duplicates",
    )


def _not_run(name: str, rules: ValidationConfig, source: Source, column: str) -> Finding:
    detail = "there are no rows" if column in source.columns else f"there is no column {column}"
    return replace(_finding(name, rules, Outcome(), "", detail=detail), success=None)


def _class_counts(found: Counter[str], labels: list[str]) -> dict[str, int]:
    return {label: found[label] for label in labels}
