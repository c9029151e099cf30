"""Validation of texts and labels with Great Expectations: what fails is named, counted and kept beside."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.records import Facts
from components.data.split.given_splits import SPLIT
from components.data.validation.checks import CONFLICTS, NOT_BLANK, NOT_NULL, Checks
from components.data.validation.conflicts import check_conflicts
from components.data.validation.engine import Outcome
from components.data.validation.findings import Cell, Finding, Rule, counted, quoted
from components.data.validation.report import Content
from components.data.validation.rules import COLUMNS, ValidationConfig

if TYPE_CHECKING:
    import pandas as pd

LABELS_SHOWN = 5


def validate(table: Path, rules: ValidationConfig, out: Path) -> Facts:
    """Check a Parquet table (`row`, `text`, `label`) and write what may be used to `out/table.parquet`.

    Beside it stand `rejected.parquet` (the same columns and `reason`), `report.json` and `report.html`. Accepted rows
    keep their order, values and further columns.

    Raises:
        DataRejected: if an expectation of severity `error` is not met, or no row is left. All files but
            `table.parquet` are written.
        TableError: if `table` is not a Parquet file, or a column has another type than text (`row`: integer).
        ConfigError: if `rules.expectations` do not fit the table.
    """
    return {**Texts(table, rules).run(out), "ordered": rules.ordered}


class Texts(Checks):
    """The checks of a table of labelled texts."""

    required = COLUMNS
    content = ("text",)
    shown = (Cell(SPLIT, None, 30, 40), Cell("label", None, 30, 40), Cell("text", None, 60, 160, named=False))

    def __init__(self, table: Path, config: ValidationConfig) -> None:
        import numpy as np

        super().__init__(table, config)
        self._undeclared: dict[str, None] = {}
        self._labels = np.zeros(self.source.rows, np.int32)

    def row_rules(self) -> list[Rule]:
        """Return the rules about labels and texts."""
        labels, length = list(self.config.labels), self.config.text_length
        # Nulls pass a set, so a missing label needs an expectation of its own.
        declared = {"values_to_be_in_set": {"value_set": labels}, **NOT_NULL}
        remedy = "Correct the data, declare the label in validation.labels, or {relax} leave such rows out"
        fits = {"value_lengths_to_be_between": {"min_value": length.min, "max_value": length.max}}
        return [
            self.column_rule("label_in_set", "label", f"is one of {', '.join(labels)}", declared, remedy),
            self.column_rule("text_not_null", "text", "is there", NOT_NULL),
            self.column_rule("text_not_blank", "text", "holds more than white space", NOT_BLANK),
            self.column_rule("text_length", "text", f"has {length.min:,} to {length.max:,} characters", fits),
        ]

    def table_rules(self) -> list[Rule]:
        """Return the rules about conflicts, copies and numbers of rows; the last two are about `_classes`."""
        fewest, most = self.config.rows_per_class.min, self.config.class_ratio.max
        settle = "Correct the labels, or {relax} use what validation.conflicts.use says"
        collect = "Collect more rows, lower validation.rows_per_class.min, or take the class out of validation.labels"
        enough = {"column_values_to_be_between": {"column": "rows", "min_value": fewest}}
        even = {"column_max_to_be_between": {"column": "ratio", "max_value": most}}
        return [
            self.rule(CONFLICTS, "no text has different labels", {}, by_row=True, remedy=settle),
            self.duplicates_rule("text"),
            self.rows_rule(),
            self.rule("rows_per_class", f"at least {fewest:,} rows of each class", enough, remedy=collect),
            self.rule("class_ratio", f"largest class at most {most:.4g} times the smallest", even),
        ]

    def look_at(self, part: "pd.DataFrame", outcomes: Mapping[str, Outcome]) -> None:
        """Keep the numbers of the labels, and some that are not declared."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if "label_in_set" in outcomes and len(self._undeclared) <= LABELS_SHOWN:
            failing = sorted(outcomes["label_in_set"].failing)
            self._undeclared |= dict.fromkeys(part["label"].loc[failing].dropna())
        if "label" in part:
            found = pc.index_in(pa.array(part["label"], pa.string()), pa.array(self.config.labels, pa.string()))
            self._labels[part.index] = found.fill_null(-1).to_numpy()

    def notes(self) -> Mapping[str, str]:
        """Return labels that are not declared."""
        labels = [quoted(label, 30) for label in self._undeclared]
        shown = ", ".join(labels[:LABELS_SHOWN]) + (", ..." if len(labels) > LABELS_SHOWN else "")
        return {"label_in_set": f"not declared: {shown}"} if labels else {}

    def differences(self) -> list[Finding]:
        """Return what became of texts with several labels."""
        return [check_conflicts(self, self._labels, self.config)]

    def tallies(self) -> list[Finding]:
        """Return what became of the rules about numbers of rows of the classes."""
        counts = self._counts
        if not self.marks.kept.any() or "label" not in self.source.columns:
            return [self.not_run(name, ["label"]) for name in ("rows_per_class", "class_ratio")]
        classes = _classes(counts)
        outcomes = {name: self.evaluate(name, classes) for name in ("rows_per_class", "class_ratio")}
        smallest, largest = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        # The "rows" that fail here are classes.
        small = [quoted(label, 30) for label in counts if label in outcomes["rows_per_class"].failing]
        fewest, most = (f"{counted(counts[label], 'row')} of {quoted(label, 30)}" for label in (smallest, largest))
        ratio = f"{outcomes['class_ratio'].observed:.2f}" if counts[smallest] else "no ratio"
        too_few = f"too few of {', '.join(small)}" if small else ""
        return [
            self.finding("rows_per_class", outcomes["rows_per_class"], fewest, detail=too_few),
            self.finding("class_ratio", outcomes["class_ratio"], ratio, detail=f"{most}, {fewest}"),
        ]

    def describe(self) -> Content:
        """Return the labels, and how many rows each has."""
        counts = self._counts
        facts = {"labels": list(counts), "class_counts": counts}
        return Content(facts, {"Classes": str(len(counts))}, {"Classes": counts})

    @cached_property
    def _counts(self) -> dict[str, int]:
        found = self.source.counts("label", self.marks.kept)
        return {label: found[label] for label in self.config.labels}


def _classes(counts: dict[str, int]) -> "pd.DataFrame":
    # Great Expectations has nothing that compares classes, so it is given a table with a class a line.
    import pandas as pd

    rows = pd.Series(counts)
    return pd.DataFrame({"rows": rows, "ratio": rows.max() / rows})
