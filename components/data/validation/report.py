"""The rules of a table and what became of them: as facts, as the message of an error, and as a page to read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
from pydantic import JsonValue

from components.core.errors import DataRejected
from components.core.records import Facts
from components.data.validation.rules import Severity

SHOWN = 20
"""How many failing rows a message or a page shows; all of them stand in `rejected.parquet`."""


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
    """A note on the failing rows, besides their number."""

    @property
    def advice(self) -> str:
        """What to do where it is not met."""
        relax = f"set validation.{self.name}.severity=warn to"
        rest = "leave such rows out" if self.by_row else "go on all the same"
        return self.remedy.format(relax=relax) if self.remedy else f"Correct the data, or {relax} {rest}"

    @property
    def status(self) -> Literal["passed", "warning", "failed", "not evaluated"]:
        """One word for a reader."""
        unmet: Literal["failed", "warning"] = "failed" if self.severity == "error" else "warning"
        return "not evaluated" if self.success is None else "passed" if self.success else unmet

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
    def line(self) -> str:
        """The text on one line, as a message shows it."""
        shown = quoted(self.text, self.in_line)
        return f"{self.name} {shown}" if self.named else shown


@dataclass(frozen=True)
class FailingRow:
    """A row that fails at least one expectation; `reason` joins the names of these with `;`."""

    row: int
    """The number of its record in the raw file."""
    cells: Sequence[Cell]
    """Its texts, in the order in which a reader wants them."""
    reason: str


@dataclass(frozen=True)
class Content:
    """What the rows that are left hold."""

    facts: Facts
    tiles: dict[str, str]
    """Figures for the page, by what they are of."""
    bars: dict[str, dict[str, int]]
    """Numbers of rows for the page, by title and by what they are of."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcome of validating one table.

    `rows_out` counts the rows that meet every expectation about rows; `reasons` counts the others by reason, and
    `failing_rows` has the first `SHOWN` of each reason, in the table's order.
    """

    rows_in: int
    rows_out: int
    rules: list[Rule]
    failing_rows: Sequence[FailingRow]
    reasons: dict[str, int]
    versions: dict[str, str]
    content: Content

    @property
    def errors(self) -> list[Rule]:
        """The expectations of severity `error` that are not met."""
        return [rule for rule in self.rules if rule.success is False and rule.severity == "error"]

    @property
    def rejected(self) -> int:
        """How many rows fail at least one expectation."""
        return sum(self.reasons.values())

    @property
    def verdict(self) -> Literal["accepted", "accepted with warnings", "rejected"]:
        """What becomes of the table."""
        if self.errors:
            return "rejected"
        return "accepted with warnings" if self.warnings() else "accepted"

    def warnings(self) -> list[str]:
        """Return a sentence for each expectation of severity `warn` that is not met or was not evaluated."""
        return [rule.warning for rule in self.rules if not rule.success and rule not in self.errors]

    def facts(self) -> Facts:
        """Return what the step reports; `rejected` counts failing rows by expectation, and a row may fail several."""
        return {
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "rejected": {rule.name: rule.failing for rule in self.rules if rule.failing},
            **self.content.facts,
            "expectations": [rule.facts() for rule in self.rules],
            "warnings": self.warnings(),
        }

    def message(self) -> str:
        """Return what an error says: one line with the failures and the remedy, then each of them, then rows."""
        reasons = "; ".join(f"{rule.name}: {rule.found}" for rule in self.errors)
        advice = self.errors[0].advice
        if not self.rows_out and self.errors[0].name != "columns":
            refused = ", ".join(f"{rule.failing:,} by {rule.name}" for rule in self.rules if rule.failing)
            advice = f"No row is left to use{refused and f' (refused {refused})'}: correct the data or the rules"
        lines = [f"data rejected by {reasons}. {advice}."]
        unmet = self.errors + [rule for rule in self.rules if rule.success is False and rule not in self.errors]
        lines += [f"  {rule.name} ({rule.severity}): {rule.found}; expected: {rule.expected}" for rule in unmet]
        stopping = [item for item in self.failing_rows if self._stops(item)]
        shown = pick(stopping or self.failing_rows)
        count = sum(self.reasons[reason] for reason in {item.reason for item in stopping}) or self.rejected
        lines += [f"  row {item.row}  {'  '.join(cell.line for cell in item.cells)}  {item.reason}" for item in shown]
        if hidden := count - len(shown):
            lines.append(f"  and {counted(hidden, 'further row')}; rejected.parquet has all of them")
        return "\n".join(lines)

    def shown_rows(self) -> list[FailingRow]:
        """Return at most `SHOWN` failing rows, in order: those that stop the flow before those left out."""
        stopping = pick([item for item in self.failing_rows if self._stops(item)])
        others = [item for item in self.failing_rows if not self._stops(item)]
        return sorted(stopping + pick(others, SHOWN - len(stopping)), key=lambda item: item.row)

    def _stops(self, item: FailingRow) -> bool:
        return not {rule.name for rule in self.errors}.isdisjoint(item.reason.split(";"))


def pick(rows: Sequence[FailingRow], most: int = SHOWN) -> list[FailingRow]:
    """Return at most `most` rows in their order, such that every reason has its turn before one has its second."""
    reasons = pd.Series([item.reason for item in rows], dtype=object)
    turns = reasons.groupby(reasons).cumcount().sort_values(kind="stable")
    return [rows[place] for place in sorted(turns.index[:most])]


def finish(report: Report, record: dict[str, Any], out: Path) -> None:
    """Write `report.json`, with `record` in it, and `report.html` to the folder `out`. Neither has a time stamp.

    Raises:
        DataRejected: if an expectation of severity `error` is not met.
    """
    content = {"verdict": report.verdict, **report.facts(), **record, "versions": report.versions}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    (out / "report.html").write_text(render(report), encoding="utf-8")
    if report.errors:
        raise DataRejected(report.message(), evidence=out)


def render(report: Report) -> str:
    """Return the report as one HTML page without script or outside reference; every value is escaped."""
    from jinja2 import Environment, StrictUndefined

    source = files("components.data.validation").joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"quoted": quoted, "counted": counted}
    return environment.from_string(source).render(report=report, shown=report.shown_rows())


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in `1 row` and `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def quoted(text: str | None, width: int) -> str:
    """Return a text on one line, cut to `width` characters, with what cannot be seen written as escapes."""
    if text is None:
        return "null"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:width])
    return f'"{shown}"' if len(text) <= width else f'"{shown}…"'
