"""What the validation of instructions found, in the terms of `components.data.validation_report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from components.core.records import Facts
from components.data.validation_findings import Cell
from components.data.validation_report import TableReport

TASKS_SHOWN = 30


@dataclass(frozen=True)
class FailingEntry:
    """An instruction that fails at least one expectation; `reason` joins the names of these with `;`."""

    row: int
    instruction: str | None
    input: str | None
    output: str | None
    reason: str

    @classmethod
    def of(cls, cells: dict[str, Any]) -> Self:
        """Return the row with these cells; those of further columns are not shown."""
        return cls(*(cells[name] for name in ("row", "instruction", "input", "output", "reason")))

    def cells(self) -> Sequence[Cell]:
        """Return instruction, input and response."""
        texts = {"instruction": self.instruction, "input": self.input, "output": self.output}
        return [Cell(name, text, 40, 120) for name, text in texts.items()]


@dataclass(frozen=True, kw_only=True)
class InstructionReport(TableReport):
    """The outcome of validating a table of instructions. What it counts are the rows that are left.

    `longest` and `mean` are tokens of an example, `lengths` how many examples have how many; `tasks` counts the rows of
    each kind of task, those without one in none.
    """

    empty_inputs: float
    longest: int
    mean: float
    lengths: dict[str, int]
    tasks: dict[str, int]

    def content(self) -> Facts:
        """Return the share of empty inputs (0 to 1), the rows of each task, and the tokens of an example."""
        return {
            "empty_inputs": self.empty_inputs,
            "tasks": dict(self.tasks),
            "tokens": {"longest": self.longest, "mean": self.mean},
        }

    def tiles(self) -> dict[str, str]:
        """Return how long examples are, and how many have no input."""
        return {
            "Mean tokens": f"{self.mean:,.1f}",
            "Most tokens": f"{self.longest:,}",
            "Empty inputs": f"{100 * self.empty_inputs:.1f} %",
        }

    def bars(self) -> dict[str, dict[str, int]]:
        """Return the rows of each task, if there are any, and how many examples have how many tokens."""
        shown = dict(list(self.tasks.items())[:TASKS_SHOWN])
        if others := len(self.tasks) - len(shown):
            shown[f"{others:,} others"] = sum(self.tasks.values()) - sum(shown.values())
        bars = {"Tasks": shown, "Tokens an example": self.lengths}
        return {title: counts for title, counts in bars.items() if counts}
