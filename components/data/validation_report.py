"""What validation found, as facts, as the message of an error, and as a page to read."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from components.data.rules import Severity
from components.records import Facts

SHOWN = 20
"""How many failing rows a message or a page shows; all of them stand in `rejected.parquet`."""


@dataclass(frozen=True)
class Finding:
    """What became of one expectation. `success` is None where it could not be evaluated."""

    name: str
    severity: Severity
    success: bool | None
    expected: str
    observed: str = ""
    detail: str = ""
    failing: int = 0
    """How many rows fail."""
    rows: int = 0
    """How many rows it was evaluated on, if it is about rows."""
    by_row: bool = False
    """Whether it is about rows, which can be left out, and not about the table."""
    note: str = ""
    """What is to be said of the failing rows besides their number."""

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

    def facts(self) -> dict[str, JsonValue]:
        """Return one line of the table of expectations."""
        return {
            "name": self.name,
            "severity": self.severity,
            "success": self.success,
            "expected": self.expected,
            "observed": self.observed,
            "failing_rows": self.failing,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class FailingRow:
    """A row that fails at least one expectation; `reason` joins the names of these with `;`."""

    row: int
    text: str | None
    label: str | None
    reason: str


@dataclass(frozen=True)
class Report:
    """The outcome of validating one table.

    `class_counts` and `rows_out` count the rows that meet every expectation about rows; `reasons` counts the others by
    reason, and `failing_rows` has the first `SHOWN` of each reason, in the table's order.
    """

    labels: list[str]
    rows_in: int
    rows_out: int
    class_counts: dict[str, int]
    findings: list[Finding]
    failing_rows: list[FailingRow]
    reasons: dict[str, int]
    versions: dict[str, str]

    @property
    def errors(self) -> list[Finding]:
        """The expectations of severity `error` that are not met."""
        return [finding for finding in self.findings if finding.failed and finding.severity == "error"]

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
        unmet = [finding for finding in self.findings if not finding.success and finding not in self.errors]
        return [_sentence(finding) for finding in unmet]

    def facts(self) -> Facts:
        """Return what the step reports; `rejected` counts failing rows by expectation, and a row may fail several."""
        return {
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "rejected": {finding.name: finding.failing for finding in self.findings if finding.failing},
            "labels": list(self.labels),
            "class_counts": dict(self.class_counts),
            "expectations": [finding.facts() for finding in self.findings],
            "warnings": list(self.warnings()),
        }

    def message(self) -> str:
        """Return what an error says: one line with the failures and the remedy, then each of them, then rows."""
        reasons = "; ".join(f"{finding.name}: {finding.found}" for finding in self.errors)
        lines = [f"data rejected by {reasons}. {self._remedy()}."]
        lines += [f"  {f.name} ({f.severity}): {f.found}; expected: {f.expected}" for f in self._unmet()]
        stopping = self._stopping_rows()
        shown = pick(stopping or self.failing_rows)
        count = sum(self.reasons[reason] for reason in {item.reason for item in stopping}) or self.rejected
        lines += [f"  row {i.row}  label {quoted(i.label, 30)}  {quoted(i.text, 60)}  {i.reason}" for i in shown]
        if hidden := count - len(shown):
            lines.append(f"  and {counted(hidden, 'further row')}; rejected.parquet has all of them")
        return "\n".join(lines)

    def shown_rows(self) -> list[FailingRow]:
        """Return at most `SHOWN` failing rows, in order: those that stop the flow before those left out."""
        stopping = pick(self._stopping_rows())
        stopped = {id(item) for item in self._stopping_rows()}
        others = [item for item in self.failing_rows if id(item) not in stopped]
        return sorted(stopping + pick(others, SHOWN - len(stopping)), key=lambda item: item.row)

    def _stopping_rows(self) -> list[FailingRow]:
        names = {finding.name for finding in self.errors}
        return [item for item in self.failing_rows if not names.isdisjoint(item.reason.split(";"))]

    def _unmet(self) -> list[Finding]:
        return self.errors + [finding for finding in self.findings if finding.failed and finding not in self.errors]

    def _remedy(self) -> str:
        first = self.errors[0]
        if first.name == "columns":
            return "Correct the data, or name the columns in source.columns"
        if not self.rows_out:
            return "No row is left to use: correct the data or the rules"
        relax = f"set validation.{first.name}.severity=warn to"
        if first.name == "label_in_set":
            return f"Correct the data, declare the label in validation.labels, or {relax} leave such rows out"
        if first.name == "rows_per_class":
            return "Collect more rows, lower validation.rows_per_class.min, or take the class out of validation.labels"
        return f"Correct the data, or {relax} {'leave such rows out' if first.by_row else 'go on all the same'}"


def _sentence(finding: Finding) -> str:
    if finding.success is None:
        return f"{finding.name} was not evaluated: {finding.detail}."
    if finding.by_row:
        return f"{finding.name}: {counted(finding.failing, 'row')} left out; expected: {finding.expected}."
    return f"{finding.name}: {finding.found}; expected: {finding.expected}."


def pick(rows: list[FailingRow], most: int = SHOWN) -> list[FailingRow]:
    """Return at most `most` rows in their order, such that every reason has its turn before one has its second."""
    seen: Counter[str] = Counter()
    turns = []
    for position, item in enumerate(rows):
        turns.append((seen[item.reason], position))
        seen[item.reason] += 1
    return [rows[position] for position in sorted(position for _, position in sorted(turns)[:most])]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in `1 row` and `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def quoted(text: str | None, width: int) -> str:
    """Return a text on one line, cut to `width` characters, with what cannot be seen written as escapes."""
    if text is None:
        return "null"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:width])
    return f'"{shown}"' if len(text) <= width else f'"{shown}…"'


def write_report(report: Report, record: dict[str, Any], out: Path) -> None:
    """Write `report.json`, with `record` in it, and `report.html` to the folder `out`. Neither has a time stamp."""
    content = {"verdict": report.verdict, **report.facts(), **record, "versions": report.versions}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    (out / "report.html").write_text(render(report), encoding="utf-8")


def render(report: Report) -> str:
    """Return the report as one HTML page without script or outside reference; every value is escaped."""
    from jinja2 import Environment, StrictUndefined

    source = files("components.data").joinpath("validation_report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["quoted"] = quoted
    environment.filters["counted"] = counted
    return environment.from_string(source).render(
        report=report,
        shown=report.shown_rows(),
        largest=max([1, *report.class_counts.values()]),
        total=max(1, sum(report.class_counts.values())),
    )


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of the named distributions."""
    from importlib.metadata import version

    return {package: version(package) for package in packages}
