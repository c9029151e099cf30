"""What validation found, as facts, as the message of an error, and as a page to read."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from components.core.errors import DataRejected
from components.core.records import Facts
from components.data.validation.findings import Cell, Rule, counted, quoted

SHOWN = 20
"""How many failing rows a message or a page shows; all of them stand in `rejected.parquet`."""


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
        return [rule for rule in self.rules if rule.failed and rule.severity == "error"]

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
            advice = "No row is left to use: correct the data or the rules"
        lines = [f"data rejected by {reasons}. {advice}."]
        unmet = self.errors + [rule for rule in self.rules if rule.failed and rule not in self.errors]
        lines += [f"  {rule.name} ({rule.severity}): {rule.found}; expected: {rule.expected}" for rule in unmet]
        stopping = self._stopping_rows()
        shown = pick(stopping or self.failing_rows)
        count = sum(self.reasons[reason] for reason in {item.reason for item in stopping}) or self.rejected
        lines += [f"  row {item.row}  {'  '.join(cell.said for cell in item.cells)}  {item.reason}" for item in shown]
        if hidden := count - len(shown):
            lines.append(f"  and {counted(hidden, 'further row')}; rejected.parquet has all of them")
        return "\n".join(lines)

    def shown_rows(self) -> list[FailingRow]:
        """Return at most `SHOWN` failing rows, in order: those that stop the flow before those left out."""
        stopping = pick(self._stopping_rows())
        stopped = set(map(id, self._stopping_rows()))
        others = [item for item in self.failing_rows if id(item) not in stopped]
        return sorted(stopping + pick(others, SHOWN - len(stopping)), key=lambda item: item.row)

    def _stopping_rows(self) -> list[FailingRow]:
        names = {rule.name for rule in self.errors}
        return [item for item in self.failing_rows if not names.isdisjoint(item.reason.split(";"))]


def pick(rows: Sequence[FailingRow], most: int = SHOWN) -> list[FailingRow]:
    """Return at most `most` rows in their order, such that every reason has its turn before one has its second."""
    seen: Counter[str] = Counter()
    turns = []
    for position, item in enumerate(rows):
        turns.append((seen[item.reason], position))
        seen[item.reason] += 1
    return [rows[position] for position in sorted(position for _, position in sorted(turns)[:most])]


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
