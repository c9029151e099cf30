"""The check of one table, whatever its kind: its rules in passes, what became of them, and the files that are left.

Every verdict is Great Expectations' own. A kind of table says which columns it has, which rules (a row each), and what
its report shows; what is counted, and how rules are run, stands here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import reduce
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from components.core.records import Facts
from components.data.batches import hashed, mixed
from components.data.split.given_splits import NAMES, SPLIT
from components.data.validation.engine import VISIBLE, Engine, Outcome, expect, is_in_parts
from components.data.validation.named import check_columns, in_short, named_rules, values_at_once
from components.data.validation.report import Cell, Content, Report, Rule, counted, finish
from components.data.validation.rows import Marks, Source, write_rejected

PACKAGES = ("great_expectations", "pandas", "pyarrow")

NOT_NULL: Mapping[str, Mapping[str, Any]] = {"values_to_not_be_null": {}}
NOT_BLANK = {"values_to_match_regex": {"regex": VISIBLE}}
"""Expectations about the values of a column, for `Checks.column_rule`."""


class Checks(ABC):
    """The checks of one table, in passes, each on the rows that the one before left.

    Columns and values are checked on the whole table, a batch at a time; then what compares rows, among those whose
    values are fine; and then what is about numbers of rows, on what will be used. In memory are a batch of rows, 13
    bytes a row, and one more for each rule about rows that some row fails.

    Raises:
        ConfigError: on construction, if an expectation that the rules name is about a column that is not there.
        TableError: on construction or while it is read, if the table is not as `rows.Source` says.
    """

    required: ClassVar[tuple[str, ...]]
    """The columns that there must be."""
    optional: ClassVar[tuple[str, ...]] = (SPLIT,)
    """The columns that there may be."""

    def __init__(self, table: Path, config: Any) -> None:
        self.config = config
        self.engine = Engine()
        named = named_rules(config.expectations)
        columns = [name for rule in named for name in rule.needs]
        self.source = source = Source(table, (*self.required, *self.optional), columns)
        check_columns(named, source.schema.names, self.required)
        columns_set = {"column_set": list(self.required), "exact_match": False}
        there = self.rule(
            "columns",
            f"the table has the columns {', '.join(self.required)}",
            {"table_columns_to_match_set": columns_set},
            remedy="Correct the data, or name the columns in source.columns",
        )
        by_row = self.row_rules()
        rules = [there, *by_row, *self.table_rules(), *named]
        self.rules = {rule.name: rule for rule in rules}
        self.whole = [rule for rule in named if not is_in_parts(rule.checks[0])]
        # On no rows these would all hold, which says nothing; on a missing column they raise.
        in_parts = [*by_row, *(rule for rule in named if rule not in self.whole)]
        self.in_parts = [rule for rule in in_parts if self.can_run(rule, source.rows)]
        self.marks = Marks(source.rows, [rule.name for rule in rules if rule.by_row])
        self.hashes = np.zeros(source.rows, np.uint64)
        self._is_held_out = np.zeros(source.rows, bool)

    @property
    @abstractmethod
    def content(self) -> tuple[str, ...]:
        """The columns that repeat where a row is repeated."""

    @property
    @abstractmethod
    def shown(self) -> tuple[Cell, ...]:
        """The texts of a failing row, in the order in which a reader wants them, still empty."""

    @abstractmethod
    def row_rules(self) -> list[Rule]:
        """Return the rules about single rows."""

    def table_rules(self) -> list[Rule]:
        """Return the rules that compare or count rows."""
        most, rows = self.config.duplicates.max_share, self.config.rows
        repeated = f"at most {100 * most:.4g} % of the rows repeat an earlier {' and '.join(self.content)}"
        # Rounded, so that a share of exactly max_share passes: 1 - 0.7 is a little more than 3 / 10.
        unique = {"column": ", ".join(self.content), "min_value": round(1 - most, 12)}
        enough = f"at least {rows.min:,} rows" + ("" if rows.max is None else f", at most {rows.max:,}")
        between = {"min_value": rows.min, "max_value": rows.max}
        checks = {"column_proportion_of_unique_values_to_be_between": unique}
        return [
            self.rule("duplicates", repeated, checks, needs=self.content, by_row=True),
            self.rule("rows", enough, {"table_row_count_to_be_between": between}),
        ]

    def derive(self, part: pd.DataFrame) -> pd.DataFrame:
        """Return a part of the table with further columns, that are made of its own, for rules to look at."""
        return part

    def note(self, name: str) -> str:  # noqa: ARG002
        """Return a note on the rows that fail a rule about single rows, besides their number."""
        return ""

    @abstractmethod
    def describe(self) -> Content:
        """Return what the rows that are left hold."""

    def rule(self, name: str, expected: str, checks: Mapping[str, Mapping[str, Any]], **more: Any) -> Rule:
        """Return a rule with the severity of its section; `checks` are kinds of expectation with their arguments."""
        built = [expect(name, kind, **arguments) for kind, arguments in checks.items()]
        return Rule(name, getattr(self.config, name).severity, expected, checks=built, **more)

    def column_rule(
        self, name: str, column: str, expected: str, checks: Mapping[str, Mapping[str, Any]], remedy: str = ""
    ) -> Rule:
        """Return a rule about the values of a column; `expected` goes on from its name, `checks` from `column_`."""
        of_column = {f"column_{kind}": {"column": column, **arguments} for kind, arguments in checks.items()}
        return self.rule(name, f"{column} {expected}", of_column, needs=[column], by_row=True, remedy=remedy)

    def run(self, out: Path) -> Facts:
        """Check the table; write `table.parquet` (what may be used), `rejected.parquet` and the report to `out`.

        Raises:
            DataRejected: if a rule of severity `error` is not met, or no row is left. All files but `table.parquet` are
                written.
        """
        for part in self.source.frames():
            self._check(part)
        there, missing = self.rules["columns"], self._lacking(self.required)
        there.success = self.engine.success(there.name)
        there.observed = f"no column {', '.join(missing)}" if missing else ", ".join(self.required)
        for rule in self.in_parts:
            self._count_failing(rule, self.engine.success(rule.name), self.source.rows)
        self._check_whole(by_row=True)
        self.compare_rows()
        self.count_rows()
        self._check_whole(by_row=False)
        reasons, failing = write_rejected(
            self.source, self.marks, self.required[1:], self.shown, out / "rejected.parquet"
        )
        report = Report(
            rows_in=self.source.rows,
            rows_out=int(self.marks.kept.sum()),
            rules=list(self.rules.values()),
            failing_rows=failing,
            reasons=reasons,
            versions={package: version(package) for package in PACKAGES},
            content=self.describe(),
        )
        finish(report, {"rules": self.config.model_dump(), "evaluations": self.engine.log}, out)
        self.source.write(self.marks.kept, out / "table.parquet")
        return report.facts()

    def _check(self, part: pd.DataFrame) -> None:
        """Evaluate columns and rules about rows on a part of the table; mark what fails, and hash the content."""
        needed = {name for rule in self.in_parts for name in rule.needs}
        unneeded = [name for name in self.optional if name not in needed]
        frame = self.derive(part).drop(columns=unneeded, errors="ignore")
        rules = [self.rules["columns"], *self.in_parts]
        outcomes = self.engine.run(frame, [check for rule in rules for check in rule.checks])
        for rule in self.in_parts:
            self.marks.add(rule.name, outcomes[rule.name].failing)
        if SPLIT in part:
            self._is_held_out[part.index] = part[SPLIT].str.strip().str.casefold().map(NAMES).gt(0).to_numpy()
        if not self._lacking(self.content):
            rows = part[list(self.content)].dropna(subset=[self.content[0]]).fillna("")
            hashes = [hashed(rows[name].to_numpy(object)) for name in self.content]
            self.hashes[rows.index] = reduce(mixed, hashes)

    def compared(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows whose content is compared, by position, and its hashes.

        These are the rows that are left so far, but for those of a validation or test split that is given.
        """
        left = self.marks.kept & ~self._is_held_out
        return left.nonzero()[0], self.hashes[left]

    def can_run(self, rule: Rule, rows: int) -> bool:
        """Say whether a rule can be evaluated on a number of rows, and note at the rule why it cannot."""
        lacking = self._lacking(rule.needs)
        detail = "" if rows else "there are no rows"
        rule.detail = f"there is no column {' or '.join(lacking)}" if lacking else detail
        return not rule.detail

    def evaluate(self, name: str, frame: pd.DataFrame) -> Outcome:
        """Evaluate a rule on a frame that was made for it, and note at the rule whether it is met."""
        rule = self.rules[name]
        outcome = self.engine.run(frame, rule.checks)[name]
        rule.success = outcome.success
        return outcome

    def compare_rows(self) -> None:
        """Evaluate the rules that compare rows, and mark what fails: copies, if there are too many."""
        rule = self.rules["duplicates"]
        left, hashes = self.compared()
        if not self.can_run(rule, len(left)):
            return
        # Texts are the same where their hashes are, and those where their numbers in order are. They are counted by a
        # hash table: numbers that grow go through it from front to back, hashes of millions anywhere.
        ordered = np.sort(hashes)
        numbers = np.append(0, np.cumsum(ordered[1:] != ordered[:-1]))
        outcome = self.evaluate(rule.name, pd.DataFrame({", ".join(self.content): numbers}))
        if not outcome.success:
            self.marks.add(rule.name, left[pd.Series(hashes).duplicated().to_numpy()])
        rule.observed = f"{100 * (1 - outcome.observed):.2f} %"
        rule.detail = f"{len(left) - 1 - int(numbers[-1]):,} of {counted(len(left), 'row')}"
        rule.failing, rule.rows = int(self.marks.mask(rule.name).sum()), len(left)

    def count_rows(self) -> None:
        """Evaluate the rules about numbers of rows that are left."""
        rule, left = self.rules["rows"], int(self.marks.kept.sum())
        self.evaluate(rule.name, pd.DataFrame(index=pd.RangeIndex(left)))
        rule.observed = counted(left, "row")
        if not left:  # Nothing can go on without a row, whatever the severity.
            rule.severity, rule.detail = "error", "every row fails" if self.source.rows else "the table is empty"

    def _lacking(self, columns: Iterable[str]) -> list[str]:
        return [column for column in columns if column not in self.source.columns]

    def _count_failing(self, rule: Rule, success: bool, rows: int) -> None:
        """Note how many rows fail a rule that was evaluated on so many, and why."""
        failing = int(self.marks.mask(rule.name).sum())
        rule.success, rule.rows, rule.observed = success, rows, f"{rows - failing:,} of {counted(rows, 'row')}"
        if success:  # Which rows that fail may do, where it is enough that most pass.
            self.marks.clear(rule.name)
        elif failing:
            rule.failing, rule.note = failing, self.note(rule.name)

    def _check_whole(self, *, by_row: bool) -> None:
        """Evaluate named rules on whole columns, in the rows that are left: those about rows, or the others."""
        for rule in self.whole:
            if rule.by_row is not by_row or not self.can_run(rule, int(self.marks.kept.sum())):
                continue
            frame = values_at_once(rule, self.source, self.marks.kept)
            outcome = self.evaluate(rule.name, frame)
            if by_row:
                self.marks.add(rule.name, outcome.failing)
                self._count_failing(rule, outcome.success, len(frame))
            else:
                rule.observed = in_short(outcome.observed)
