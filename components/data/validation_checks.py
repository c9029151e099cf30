"""What the validations of all kinds of table share: running expectations in parts, and saying what became of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from components.data.given_splits import SPLIT, is_held_out
from components.data.rules import Severity
from components.data.validation_engine import (
    Engine,
    Outcome,
    columns_expectation,
    duplicates_expectation,
    rows_expectation,
)
from components.data.validation_findings import Finding, counted
from components.data.validation_rows import Marks, Source

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PACKAGES = ("great_expectations", "pandas", "pyarrow")
DUPLICATES = "duplicates"
CONFLICTS = "conflicts"


def mixed(hashes: "np.ndarray", numbers: "np.ndarray") -> "np.ndarray":
    """Return a hash of each hash with its number, uint64; that of number 0 is the hash itself."""
    import numpy as np

    found: np.ndarray = hashes + numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return found


class Rules(Protocol):
    """The config of a validation: a section for each expectation, by its name."""

    @property
    def duplicates(self) -> Any:
        """How many rows may repeat earlier ones: `max_share`."""

    @property
    def rows(self) -> Any:
        """How many rows there are to be: `min`, `max`."""

    def severity(self, name: str) -> Severity:
        """Return the severity of an expectation."""
        ...

    def expected(self) -> dict[str, str]:
        """Return what is expected in words, by expectation, in the order in which reports show them."""
        ...

    def model_dump(self) -> dict[str, Any]:
        """Return the rules as JSON values."""
        ...


class Checks:
    """The checks of one table, in three passes, each on the rows that the one before left.

    Columns and values are checked on the whole table, a batch at a time; repeated rows among those whose values are
    fine; numbers of rows on what will be used. `required` are the columns that there must be, `by_row` the expectations
    about single rows with the columns that they need, and a row is repeated if its `content` is.
    """

    def __init__(
        self,
        source: Source,
        rules: Rules,
        required: Sequence[str],
        by_row: Mapping[str, Sequence[str]],
        content: Sequence[str],
    ) -> None:
        import numpy as np

        self.source, self.rules = source, rules
        self.required, self.by_row, self.content = required, by_row, content
        self.engine = Engine()
        self.marks = Marks(source.rows, (*by_row, CONFLICTS, DUPLICATES))
        # On no rows these would all hold, which says nothing; on a missing column they raise.
        self.runs = [name for name, columns in by_row.items() if source.rows and not self._lacking(columns)]
        self._whole = {name: Outcome() for name in ("columns", *self.runs)}
        self._hashes = np.zeros(source.rows, np.uint64)
        self._is_held_out = np.zeros(source.rows if SPLIT in source.columns else 0, bool)

    def run(self, frame: "pd.DataFrame", expectations: Sequence[Any]) -> dict[str, Outcome]:
        """Evaluate the columns, and those expectations about rows that can be, on a part of the table."""
        chosen = [each for each in expectations if each.meta["name"] in self.runs]
        outcomes = self.engine.run(frame, [columns_expectation(self.required), *chosen])
        for name, outcome in outcomes.items():
            self._whole[name].success &= outcome.success
            if name in self.runs:
                self.marks.add(name, outcome.failing)
        return outcomes

    def remember(self, frame: "pd.DataFrame", hashes: Callable[["pd.DataFrame"], "np.ndarray"]) -> None:
        """Keep 64 bits of the content of those rows of a part whose values are fine."""
        if SPLIT in frame:
            self._is_held_out[frame.index] = is_held_out(frame[SPLIT])
        if not self._lacking(self.content):
            positions = frame.index.to_numpy()
            positions = positions[self.marks.kept_of(positions)]
            self._hashes[positions] = hashes(frame.loc[positions])

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

    def values(self, notes: Mapping[str, str]) -> list[Finding]:
        """Return what became of columns and values; `notes` say more of the rows that fail."""
        rows = self.source.rows
        findings = [self._columns()]
        for name, columns in self.by_row.items():
            if name not in self.runs:
                findings.append(self.not_run(name, columns))
                continue
            failing = self.marks.failing(name)
            observed = f"{rows - failing:,} of {counted(rows, 'row')}"
            note = notes.get(name, "")
            findings.append(self.finding(name, self._whole[name], observed, failing=failing, rows=rows, note=note))
        return findings

    def row_count(self) -> Finding:
        """Return what became of the number of rows that are left."""
        import pandas as pd

        left = int(self.marks.kept.sum())
        outcome = self.engine.run(pd.DataFrame(index=pd.RangeIndex(left)), [rows_expectation(self.rules.rows)])["rows"]
        if left:
            return self.finding("rows", outcome, counted(outcome.observed, "row"))
        detail = "every row fails" if self.source.rows else "the table is empty"
        # Nothing can go on without a row, whatever the severity.
        return self.finding("rows", outcome, counted(outcome.observed, "row"), detail=detail, severity="error")

    def finding(self, name: str, outcome: Outcome, observed: str, **more: Any) -> Finding:
        """Return what became of an expectation."""
        said = {
            "severity": self.rules.severity(name),
            "success": outcome.success,
            "expected": self.rules.expected()[name],
            "by_row": name in self.by_row or name in (CONFLICTS, DUPLICATES),
        }
        return Finding(name=name, observed=observed, **(said | more))

    def not_run(self, name: str, columns: Sequence[str]) -> Finding:
        """Return that an expectation was not evaluated, for want of a column or of rows."""
        lacking = self._lacking(columns)
        detail = f"there is no column {' or '.join(lacking)}" if lacking else "there are no rows"
        return self.finding(name, Outcome(), "", detail=detail, success=None)

    def _lacking(self, columns: Sequence[str]) -> list[str]:
        return [column for column in columns if column not in self.source.columns]

    def _columns(self) -> Finding:
        missing = self._lacking(self.required)
        observed = f"no column {', '.join(missing)}" if missing else ", ".join(self.required)
        return self.finding("columns", self._whole["columns"], observed)

    def duplicates(self) -> Finding:
        """Return what became of repeated rows."""
        import numpy as np
        import pandas as pd

        left, hashes = self.compared()
        if not len(left) or self._lacking(self.content):
            return self.not_run(DUPLICATES, self.content)
        # Texts are the same where their hashes are, and those where their numbers in order are. They are counted by a
        # hash table: numbers that grow go through it from front to back, hashes of millions anywhere.
        ordered = np.sort(hashes)
        numbers = np.append(0, np.cumsum(ordered[1:] != ordered[:-1]))
        column = ", ".join(self.content)
        expectation = duplicates_expectation(column, self.rules.duplicates.max_share)
        outcome = self.engine.run(pd.DataFrame({column: numbers}), [expectation])[DUPLICATES]
        if not outcome.success:
            self.marks.add(DUPLICATES, left[pd.Series(hashes).duplicated().to_numpy()])
        detail = f"{len(left) - 1 - int(numbers[-1]):,} of {counted(len(left), 'row')}"
        observed = f"{100 * (1 - outcome.observed):.2f} %"
        failing = self.marks.failing(DUPLICATES)
        return self.finding(DUPLICATES, outcome, observed, detail=detail, failing=failing, rows=len(left))
