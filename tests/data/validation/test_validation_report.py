import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from components.data.validation.report import Cell, Content, FailingRow, Report, Rule, finish, pick, quoted, render
from components.data.validation.rules import Severity

HOSTILE = "<script>alert('x')</script><img src=http://evil.example/x onerror=alert(1)>\" {{ 7 * 7 }}"


class Page(HTMLParser):
    """What is in a page: its tags with attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def failing(row: int, text: str, label: str, reason: str) -> FailingRow:
    return FailingRow(row, [Cell("label", label, 30, 40), Cell("text", text, 60, 160, named=False)], reason)


def rule(name: str, severity: Severity, success: bool | None, expected: str, observed: str = "", **more: Any) -> Rule:
    return Rule(name, severity, expected, success=success, observed=observed, **more)


def content(counts: dict[str, int]) -> Content:
    return Content({"labels": list(counts)}, {"Classes": str(len(counts))}, {"Classes": counts})


def report(**changes: object) -> Report:
    rules = [
        rule("columns", "error", True, "the table has its columns", "row, text, label"),
        rule("label_in_set", "error", True, "label is declared", "3 of 3 rows", rows=3, by_row=True),
        rule("text_length", "warn", False, "1 to 9 characters", "2 of 3 rows", failing=1, rows=3, by_row=True),
        rule("class_ratio", "warn", None, "at most 3", detail="there is no column label"),
    ]
    base = Report(
        rows_in=3,
        rows_out=2,
        content=content({"ham": 1, "spam": 1}),
        rules=rules,
        failing_rows=[failing(2, "a long text", "ham", "text_length")],
        reasons={"text_length": 1},
        versions={"great_expectations": "1.2.3"},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_page_shows_verdict_counts_findings_rows_and_versions() -> None:
    text = " ".join(Page(render(report())).text.split())
    assert "Data accepted with warnings" in text
    assert "1 row left out; the table has the other 2." in text
    assert "text_length: 1 row left out; expected: 1 to 9 characters." in text
    assert "class_ratio was not evaluated: there is no column label." in text
    assert '"a long text" text_length' in text
    assert "great_expectations 1.2.3" in text


def test_a_page_of_accepted_data_lists_no_rows() -> None:
    rules = [rule("rows", "error", True, "at least 1", "3 rows")]
    text = Page(render(report(rules=rules, failing_rows=[], reasons={}, rows_out=3))).text
    assert "Data accepted\n" in text
    assert "All 3 rows are used." in text
    assert "Failing rows" in text
    assert "rejected.parquet" not in text


def test_a_page_of_rejected_data_names_the_errors() -> None:
    rules = [rule("rows", "error", False, "at least 20 rows", "0 rows", detail="the table is empty")]
    text = Page(render(report(rules=rules, failing_rows=[], reasons={}, rows_in=0, rows_out=0))).text
    assert "Data rejected" in text
    assert "rows: 0 rows (the table is empty); expected: at least 20 rows" in text


def test_hostile_values_are_shown_not_run() -> None:
    hostile = report(
        content=content({"ham": 1, HOSTILE: 1}),
        rules=[
            rule("rows", "error", False, HOSTILE, HOSTILE, detail=HOSTILE),
            rule("text_length", "warn", False, HOSTILE, HOSTILE, failing=1, by_row=True),
        ],
        failing_rows=[failing(1, HOSTILE, HOSTILE, "text_length")],
        versions={HOSTILE: HOSTILE},
    )
    plain, page = Page(render(report())), Page(render(hostile))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags} | {"br", "ul", "li"}
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert HOSTILE in page.text


def test_a_page_refers_to_nothing_outside() -> None:
    source = render(report())
    page = Page(source)
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in page.tags}
    assert not {"src", "href", "srcset"} & {name for _, attributes in page.tags for name in attributes}
    assert "url(" not in source
    assert "@import" not in source
    assert "://" not in source


def test_writing_gives_json_with_what_was_handed_over(tmp_path: Path) -> None:
    finish(report(), {"rules": {"rows": 3}}, tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["verdict"] == "accepted with warnings"
    assert content["rules"] == {"rows": 3}
    assert content["rejected"] == {"text_length": 1}
    assert set(content["expectations"][0]) >= {"name", "severity", "success", "observed", "failing_rows", "detail"}
    assert (tmp_path / "report.html").read_text() == render(report())


def test_rows_that_stop_the_flow_are_shown_before_those_left_out() -> None:
    rows = [failing(number, "x", "ham", "text_length") for number in range(30)]
    rows += [failing(number, "x", "spm", "label_in_set;text_length") for number in range(30, 35)]
    rules = [
        rule("label_in_set", "error", False, "", failing=5, rows=40, by_row=True),
        rule("text_length", "warn", False, "", failing=35, rows=40, by_row=True),
    ]
    said = report(rules=rules, failing_rows=rows, reasons={"text_length": 30, "label_in_set;text_length": 5})
    assert [item.row for item in said.shown_rows()] == [*range(15), *range(30, 35)]
    assert [line.split()[1] for line in said.message().splitlines() if line.startswith("  row ")] == [
        str(number) for number in range(30, 35)
    ]


def test_every_reason_has_its_turn() -> None:
    rows = [failing(number, "", "", "ab"[number >= 8]) for number in range(10)]
    assert [item.row for item in pick(rows, 4)] == [0, 1, 8, 9]
    assert [item.row for item in pick(rows, 5)] == [0, 1, 2, 8, 9]
    assert pick([], 5) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, "null"),
        ("", '""'),
        ("12345", '"12345"'),
        ("123456", '"12345…"'),
        ("a\n\x1b", '"a\\n\\x1b"'),
        ("\u00a0\u202e", '"\\xa0\\u202e"'),
        ("\u00e9\U0001f600", '"\u00e9\U0001f600"'),
    ],
)
def test_quoting(text: str | None, shown: str) -> None:
    assert quoted(text, 5) == shown
