"""One rule, what became of it, and how both are put into words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import JsonValue

from components.data.validation.rules import Severity


@dataclass(eq=False)
class Rule:
    """A row of a table's rules: what has to be, how it is counted, what to do where it is not, and what was found."""

    name: str
    severity: Severity
    expected: str
    """What has to be, in words."""
    needs: Sequence[str] = ()
    """The columns without which it is not evaluated."""
    checks: Sequence[Any] = ()
    """What counts: expectations of Great Expectations (`engine.expect`)."""
    by_row: bool = False
    """Whether it is about rows, which can be left out, and not about the table."""
    remedy: str = ""
    """What to do where it is not met, if not what goes for all; `{relax}` stands for going on all the same."""

    success: bool | None = None
    """Whether it is met; None where it could not be evaluated."""
    observed: str = ""
    detail: str = ""
    failing: int = 0
    """How many rows fail."""
    rows: int = 0
    """How many rows it was evaluated on, if it is about rows."""
    note: str = ""
    """What is to be said of the failing rows besides their number."""

    @property
    def advice(self) -> str:
        """What to do where it is not met."""
        relax = f"set validation.{self.name}.severity=warn to"
        rest = "leave such rows out" if self.by_row else "go on all the same"
        return self.remedy.format(relax=relax) if self.remedy else f"Correct the data, or {relax} {rest}"

    @property
    def failed(self) -> bool:
        """Whether it was evaluated and not met."""
        return self.success is False

    @property
    def status(self) -> Literal["passed", "warning", "failed", "not evaluated"]:
        """One word for a reader."""
        if self.success is None:
            return "not evaluated"
        if self.success:
            return "passed"
        return "failed" if self.severity == "error" else "warning"

    @property
    def found(self) -> str:
        """What was found, in words."""
        if self.by_row:
            verb = "fails" if self.failing == 1 else "fail"
            return f"{self.failing:,} of {counted(self.rows, 'row')} {verb}" + (f" ({self.note})" if self.note else "")
        return f"{self.observed} ({self.detail})" if self.detail else self.observed

    @property
    def warning(self) -> str:
        """A sentence about a rule that is not met or was not evaluated."""
        if self.success is None:
            return f"{self.name} was not evaluated: {self.detail}."
        note = f" ({self.note})" if self.note else ""
        found = f"{counted(self.failing, 'row')} left out{note}" if self.by_row else self.found
        return f"{self.name}: {found}; expected: {self.expected}."

    def facts(self) -> dict[str, JsonValue]:
        """Return one line of the table of expectations."""
        names = ("name", "severity", "success", "expected", "observed", "failing", "detail")
        return {"failing_rows" if name == "failing" else name: getattr(self, name) for name in names}


class Cell(NamedTuple):
    """A text of a failing row, and how many of its characters are shown: in a message, and on a page."""

    name: str
    text: str | None
    in_line: int
    on_page: int
    named: bool = True
    """Whether a message has to say which text it is."""

    @property
    def said(self) -> str:
        """The text on one line, as a message shows it."""
        shown = quoted(self.text, self.in_line)
        return f"{self.name} {shown}" if self.named else shown


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in `1 row` and `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def quoted(text: str | None, width: int) -> str:
    """Return a text on one line, cut to `width` characters, with what cannot be seen written as escapes."""
    if text is None:
        return "null"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:width])
    return f'"{shown}"' if len(text) <= width else f'"{shown}…"'
