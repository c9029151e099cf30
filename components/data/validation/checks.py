"""The check of one table, whatever its kind: its rules in passes, what became of them, and the files that are left.

Every verdict is Great Expectations' own. A kind of table says which columns it has, which rules (a row each), and what
its report shows; what is counted, and how rules are run, stands here.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from components.core.records import Facts
from components.data.batches import hashed
from components.data.split.given_splits import SPLIT, is_held_out
from components.data.validation.engine import VISIBLE, Engine, Outcome, columns_of, expect, is_in_parts
from components.data.validation.findings import Cell, Finding, Rule, counted
from components.data.validation.named import check_columns, in_short, named_rules, values_at_once
from components.data.validation.report import Content, Report, finish
from components.data.validation.rows import Marks, Source, write_rejected

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PACKAGES = ("great_expectations", "pandas", "pyarrow")
DUPLICATES = "duplicates"
CONFLICTS = "conflicts"

NOT_NULL: Mapping[str, Mapping[str, Any]] = {"values_to_not_be_null": {}}
NOT_BLANK = {"values_to_match_regex": {"regex": VISIBLE}}
"""Expectations about the values of a column, for `Checks.column_rule`."""


def mixed(hashes: "np.ndarray", numbers: "np.ndarray") -> "np.ndarray":
    """Return a hash of each hash with its number, uint64; that of number 0 is the hash itself."""
    import numpy as np

    found: np.ndarray = hashes + numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return found


class Checks:
    """The checks of one table, in passes, each on the rows that the one before left.

    Columns and values are checked on the whole table, a batch at a time; then what compares rows, among those whose
    values are fine; and then what is about numbers of rows, on what will be used. In memory are a batch of rows, and 13
    bytes a row (20, where a preset names more than a few of Great Expectations' own expectations).

    Raises:
        ConfigError: on construction, if an expectation that the rules name is about a column that is not there.
        TableError: on construction or while it is read, if the table is not as `validation_rows.Source` says.
    """

    required: ClassVar[tuple[str, ...]]
    """The columns that there must be."""
    optional: ClassVar[tuple[str, ...]] = (SPLIT,)
    """The columns that there may be."""
    content: ClassVar[tuple[str, ...]]
    """A row is repeated if these are."""
    shown: ClassVar[tuple[Cell, ...]]
    """The texts of a failing row, in the order in which a reader wants them, still empty."""

    def __init__(self, table: Path, config: Any) -> None:
        import numpy as np

        self.config = config
        self.engine = Engine()
        named = named_rules(config.expectations)
        columns = [name for rule in named for name in rule.needs]
        self.source = source = Source(table, (*self.required, *self.optional), columns)
        for rule in named:
            check_columns(rule, source.schema.names, self.required)
        by_row = self.row_rules()
        ours = [self._columns_rule(), *by_row, *self.table_rules()]
        self.rules = {rule.name: rule for rule in [*ours, *named]}
        self.in_parts = [*by_row, *(rule for rule in named if is_in_parts(rule.checks[0]))]
        self.whole = [rule for rule in named if not is_in_parts(rule.checks[0])]
        # On no rows these would all hold, which says nothing; on a missing column they raise.
        runs = [rule for rule in self.in_parts if source.rows and not self._lacking(rule.needs)]
        self.runs = {rule.name: rule for rule in runs}
        self.marks = Marks(source.rows, [rule.name for rule in self.rules.values() if rule.by_row])
        self._hashes = np.zeros(source.rows, np.uint64)
        self._is_held_out = np.zeros(source.rows if SPLIT in source.columns else 0, bool)

    def row_rules(self) -> list[Rule]:
        """Return the rules about single rows."""
        raise NotImplementedError

    def table_rules(self) -> list[Rule]:
        """Return the rules that compare or count rows, `duplicates` and `rows` among them."""
        raise NotImplementedError

    def derive(self, part: "pd.DataFrame") -> "pd.DataFrame":
        """Return a part of the table with further columns, that are made of its own, for rules to look at."""
        return part

    def look_at(self, part: "pd.DataFrame", outcomes: Mapping[str, Outcome]) -> None:
        """Gather from a part what is to be said of the rows that fail."""

    def notes(self) -> Mapping[str, str]:
        """Return what is to be said of the rows that fail besides their number, by the name of the rule."""
        return {}

    def differences(self) -> list[Finding]:
        """Return what became of rules that compare rows, besides `duplicates`; mark what fails."""
        return []

    def tallies(self) -> list[Finding]:
        """Return what became of rules about the rows that are left, besides `rows`."""
        return []

    def describe(self) -> Content:
        """Return what the rows that are left hold."""
        raise NotImplementedError

    def rule(self, name: str, expected: str, checks: Mapping[str, Mapping[str, Any]], **more: Any) -> Rule:
        """Return a rule with the severity of its section; `checks` are kinds of expectation with their arguments."""
        built = [expect(name, kind, **arguments) for kind, arguments in checks.items()]
        needs = [column for arguments in checks.values() for column in columns_of(arguments)]
        severity = getattr(self.config, name).severity
        return Rule(
            **{"name": name, "severity": severity, "expected": expected, "needs": needs, "checks": built, **more}
        )

    def column_rule(
        self, name: str, column: str, expected: str, checks: Mapping[str, Mapping[str, Any]], remedy: str = ""
    ) -> Rule:
        """Return a rule about the values of a column; `expected` goes on from its name, `checks` from `column_`."""
        of_column = {f"column_{kind}": {"column": column, **arguments} for kind, arguments in checks.items()}
        return self.rule(name, f"{column} {expected}", of_column, by_row=True, remedy=remedy)

    def duplicates_rule(self, what: str) -> Rule:
        """Return the rule about repeated rows; `what` says what is compared."""
        most = self.config.duplicates.max_share
        expected = f"at most {100 * most:.4g} % of the rows repeat an earlier {what}"
        # Rounded, so that a share of exactly max_share passes: 1 - 0.7 is a little more than 3 / 10.
        arguments = {"column": ", ".join(self.content), "min_value": round(1 - most, 12)}
        checks = {"column_proportion_of_unique_values_to_be_between": arguments}
        return self.rule(DUPLICATES, expected, checks, needs=self.content, by_row=True)

    def rows_rule(self) -> Rule:
        """Return the rule about the number of rows that are left."""
        rows = self.config.rows
        most = "" if rows.max is None else f", at most {rows.max:,}"
        arguments = {"min_value": rows.min, "max_value": rows.max}
        return self.rule("rows", f"at least {rows.min:,} rows{most}", {"table_row_count_to_be_between": arguments})

    def _columns_rule(self) -> Rule:
        expected = f"the table has the columns {', '.join(self.required)}"
        checks = {"table_columns_to_match_set": {"column_set": list(self.required), "exact_match": False}}
        return self.rule("columns", expected, checks, remedy="Correct the data, or name the columns in source.columns")

    def run(self, out: Path) -> Facts:
        """Check the table; write `table.parquet` (what may be used), `rejected.parquet` and the report to `out`.

        Raises:
            DataRejected: if a rule of severity `error` is not met, or no row is left. All files but `table.parquet` are
                written.
        """
        for part in self.source.frames():
            self._check(part)
        values = [self._columns(), *map(self._of_rows, self.in_parts)]
        whole = [self._of_column(rule) for rule in self.whole if rule.by_row]
        differences = [*self.differences(), self.duplicates()]
        counts = [self.row_count(), *self.tallies()]
        whole += [self._of_column(rule) for rule in self.whole if not rule.by_row]
        findings = {finding.name: finding for finding in [*values, *differences, *counts, *whole]}
        report = self._report([findings[name] for name in self.rules], out)
        finish(report, {"rules": self.config.model_dump(), "evaluations": self.engine.log}, out)
        self.source.write(self.marks.kept, out / "table.parquet")
        return report.facts()

    def _check(self, part: "pd.DataFrame") -> None:
        """Evaluate columns and rules about rows on a part of the table; mark what fails, and hash the content."""
        needed = {name for rule in self.runs.values() for name in rule.needs}
        unneeded = [name for name in self.optional if name not in needed]
        frame = self.derive(part).drop(columns=unneeded, errors="ignore")
        rules = [self.rules["columns"], *self.runs.values()]
        outcomes = self.engine.run(frame, [check for rule in rules for check in rule.checks])
        for name in self.runs:
            self.marks.add(name, outcomes[name].failing)
        self.look_at(part, outcomes)
        if SPLIT in part:
            self._is_held_out[part.index] = is_held_out(part[SPLIT])
        if not self._lacking(self.content):
            rows = part[list(self.content)].dropna(subset=[self.content[0]]).fillna("")
            hashes = [hashed(rows[name].to_numpy(object)) for name in self.content]
            self._hashes[rows.index] = reduce(mixed, hashes)

    def compared(self) -> tuple["np.ndarray", "np.ndarray"]:
        """Return the rows whose content is compared, by position, and its hashes.

        These are the rows that are left so far, but for those of a validation or test split that is given.
        """
        left = self.marks.kept
        if len(self._is_held_out):
            left &= ~self._is_held_out
        return left.nonzero()[0], self._hashes[left]

    def tell_apart(self, places: "np.ndarray", numbers: "np.ndarray") -> None:
        """Let rows with the same content be no copies of one another where they have different numbers."""
        self._hashes[places] = mixed(self._hashes[places], numbers)

    def evaluate(self, name: str, frame: "pd.DataFrame") -> Outcome:
        """Evaluate a rule on a frame that was made for it."""
        return self.engine.run(frame, self.rules[name].checks)[name]

    def finding(self, name: str, outcome: Outcome, observed: str, **more: Any) -> Finding:
        """Return what became of a rule."""
        rule = self.rules[name]
        said = {"severity": rule.severity, "success": outcome.success, "expected": rule.expected, "by_row": rule.by_row}
        return Finding(name=name, observed=observed, **(said | {"advice": rule.advice} | more))

    def not_run(self, name: str, columns: Sequence[str]) -> Finding:
        """Return that a rule was not evaluated, for want of a column or of rows."""
        lacking = self._lacking(columns)
        detail = f"there is no column {' or '.join(lacking)}" if lacking else "there are no rows"
        return self.finding(name, Outcome(), "", detail=detail, success=None)

    def duplicates(self) -> Finding:
        """Return what became of repeated rows, and mark them if there are too many."""
        import numpy as np
        import pandas as pd

        left, hashes = self.compared()
        if not len(left) or self._lacking(self.content):
            return self.not_run(DUPLICATES, self.content)
        # Texts are the same where their hashes are, and those where their numbers in order are. They are counted by a
        # hash table: numbers that grow go through it from front to back, hashes of millions anywhere.
        ordered = np.sort(hashes)
        numbers = np.append(0, np.cumsum(ordered[1:] != ordered[:-1]))
        outcome = self.evaluate(DUPLICATES, pd.DataFrame({", ".join(self.content): numbers}))
        if not outcome.success:
            self.marks.add(DUPLICATES, left[pd.Series(hashes).duplicated().to_numpy()])
        detail = f"{len(left) - 1 - int(numbers[-1]):,} of {counted(len(left), 'row')}"
        observed = f"{100 * (1 - outcome.observed):.2f} %"
        failing = self.marks.failing(DUPLICATES)
        return self.finding(DUPLICATES, outcome, observed, detail=detail, failing=failing, rows=len(left))

    def row_count(self) -> Finding:
        """Return what became of the number of rows that are left."""
        import pandas as pd

        left = int(self.marks.kept.sum())
        outcome = self.evaluate("rows", pd.DataFrame(index=pd.RangeIndex(left)))
        if left:
            return self.finding("rows", outcome, counted(left, "row"))
        detail = "every row fails" if self.source.rows else "the table is empty"
        # Nothing can go on without a row, whatever the severity.
        return self.finding("rows", outcome, "0 rows", detail=detail, severity="error")

    def _lacking(self, columns: Sequence[str]) -> list[str]:
        return [column for column in columns if column not in self.source.columns]

    def _columns(self) -> Finding:
        missing = self._lacking(self.required)
        observed = f"no column {', '.join(missing)}" if missing else ", ".join(self.required)
        return self.finding("columns", Outcome(self.engine.success("columns")), observed)

    def _of_rows(self, rule: Rule) -> Finding:
        """Return what became of a rule about rows that was evaluated in parts."""
        if rule.name not in self.runs:
            return self.not_run(rule.name, rule.needs)
        return self._of_failing(rule, Outcome(self.engine.success(rule.name)), self.source.rows)

    def _of_failing(self, rule: Rule, outcome: Outcome, rows: int) -> Finding:
        failing = self.marks.failing(rule.name)
        observed = f"{rows - failing:,} of {counted(rows, 'row')}"
        if outcome.success:  # Which rows that fail may do, where it is enough that most pass.
            failing = self.marks.clear(rule.name)
        return self.finding(
            rule.name, outcome, observed, failing=failing, rows=rows, note=self.notes().get(rule.name, "")
        )

    def _of_column(self, rule: Rule) -> Finding:
        """Evaluate a named rule on whole columns, in the rows that are left, and return what became of it."""
        if self._lacking(rule.needs) or not self.marks.kept.any():
            return self.not_run(rule.name, rule.needs)
        frame = values_at_once(rule, self.source, self.marks.kept)
        outcome = self.evaluate(rule.name, frame)
        if not rule.by_row:
            return self.finding(rule.name, outcome, in_short(outcome.observed))
        self.marks.add(rule.name, outcome.failing)
        return self._of_failing(rule, outcome, len(frame))

    def _report(self, findings: list[Finding], out: Path) -> Report:
        reasons, failing = write_rejected(
            self.source, self.marks, self.required[1:], self.shown, out / "rejected.parquet"
        )
        return Report(
            rows_in=self.source.rows,
            rows_out=int(self.marks.kept.sum()),
            findings=findings,
            failing_rows=failing,
            reasons=reasons,
            versions={package: version(package) for package in PACKAGES},
            content=self.describe(),
        )
