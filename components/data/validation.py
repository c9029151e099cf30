"""Validation of texts and labels with Great Expectations: what fails is named, counted and kept beside.

Every verdict in the report is Great Expectations' own.
https://docs.greatexpectations.io/docs/core/define_expectations/
"""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.records import Facts
from components.data.batches import hashed, schema
from components.data.conflicts import check_conflicts
from components.data.given_splits import SPLIT
from components.data.rules import COLUMNS, ValidationConfig
from components.data.validation_checks import PACKAGES, Checks
from components.data.validation_engine import class_expectations, value_expectations
from components.data.validation_findings import Finding, counted, quoted
from components.data.validation_report import FailingRow, Report, finish, versions
from components.data.validation_rows import Source, write_rejected

if TYPE_CHECKING:
    import pandas as pd

LABELS_SHOWN = 5
ROW_CHECKS = {
    "label_in_set": ["label"],
    "text_not_null": ["text"],
    "text_not_blank": ["text"],
    "text_length": ["text"],
}
"""The expectations about single rows, and the columns that each needs."""


def validate(table: Path, rules: ValidationConfig, out: Path) -> Facts:
    """Check a Parquet table (`row`, `text`, `label`) and write what may be used to `out/table.parquet`.

    Beside it stand `rejected.parquet` (`row`, `text`, `label`, `reason`), `report.json` and `report.html`. Accepted
    rows keep their order, values and further columns. In memory are a batch of rows and 13 bytes a row.

    Raises:
        DataRejected: if an expectation of severity `error` is not met, or no row is left. All files but
            `table.parquet` are written.
        TableError: if `table` is not a Parquet file, or a column has another type than text (`row`: integer).
    """
    source = Source(table, (*COLUMNS, SPLIT))
    checks = Checks(source, rules, COLUMNS, ROW_CHECKS, content=["text"])
    findings = _check_values(checks, rules)
    kept = checks.marks.kept
    counts = _class_counts(source.counts("label", kept), rules.labels)
    findings += [checks.row_count(), *_check_classes(checks, int(kept.sum()), counts, rules)]
    columns = schema(name for name in ("text", "label", SPLIT) if name != SPLIT or name in source.columns)
    reasons, failing_rows = write_rejected(source, checks.marks, columns, FailingRow.of, out / "rejected.parquet")
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
    finish(report, {"rules": rules.model_dump(), "evaluations": checks.engine.log}, out)
    source.write(kept, out / "table.parquet")
    return {**report.facts(), "ordered": rules.ordered}


def _check_values(checks: Checks, rules: ValidationConfig) -> list[Finding]:
    """Check columns and values batch by batch, then texts with several labels and repeated ones; mark what fails."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    expectations = value_expectations(rules)
    undeclared: dict[str, None] = {}
    labels, declared = np.zeros(checks.source.rows, np.int32), pa.array(rules.labels, pa.string())
    for part in checks.source.frames():
        frame = part.drop(columns=SPLIT, errors="ignore")  # Not checked, so not handed over.
        outcomes = checks.run(frame, expectations)
        if "label_in_set" in outcomes and len(undeclared) <= LABELS_SHOWN:
            failing = sorted(outcomes["label_in_set"].failing)
            undeclared |= dict.fromkeys(frame["label"].loc[failing].dropna())
        checks.remember(part, lambda rows: hashed(rows["text"].to_numpy(object)))
        if "label" in frame:
            found = pc.index_in(pa.array(frame["label"], pa.string()), declared)
            labels[frame.index] = found.fill_null(-1).to_numpy()
    values = checks.values(notes={"label_in_set": _names(list(undeclared))})
    return [*values, check_conflicts(checks, labels, rules), checks.duplicates()]


def _names(labels: list[str]) -> str:
    shown = ", ".join(quoted(label, 30) for label in labels[:LABELS_SHOWN])
    return f"not declared: {shown}{', ...' if len(labels) > LABELS_SHOWN else ''}" if labels else ""


def _check_classes(checks: Checks, left: int, counts: dict[str, int], rules: ValidationConfig) -> list[Finding]:
    if not left or "label" not in checks.source.columns:
        return [checks.not_run(name, ["label"]) for name in ("rows_per_class", "class_ratio")]
    outcomes = checks.engine.run(_classes(counts), class_expectations(rules))
    smallest, largest = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    # The "rows" that fail here are classes.
    small = [quoted(label, 30) for label in rules.labels if label in outcomes["rows_per_class"].failing]
    fewest, most = (f"{counted(counts[label], 'row')} of {quoted(label, 30)}" for label in (smallest, largest))
    ratio = f"{outcomes['class_ratio'].observed:.2f}" if counts[smallest] else "no ratio"
    return [
        checks.finding("rows_per_class", outcomes["rows_per_class"], fewest, detail=_too_few(small)),
        checks.finding("class_ratio", outcomes["class_ratio"], ratio, detail=f"{most}, {fewest}"),
    ]


def _too_few(labels: list[str]) -> str:
    return f"too few of {', '.join(labels)}" if labels else ""


def _classes(counts: dict[str, int]) -> "pd.DataFrame":
    # Great Expectations has nothing that compares classes, so it is given a table with a class a line.
    import pandas as pd

    rows = pd.Series(counts)
    return pd.DataFrame({"rows": rows, "ratio": rows.max() / rows})


def _class_counts(found: Counter[str], labels: list[str]) -> dict[str, int]:
    return {label: found[label] for label in labels}
