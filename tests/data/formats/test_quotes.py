"""Quotes of delimited files: a closing one ends its field, whichever way the file is read."""

import csv
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.core.errors import TableError
from components.data.formats.quotes import LONGEST_FIELD, Quotes
from components.data.formats.readers import read_fields, read_quickly, read_records
from components.data.formats.reading import Seen
from components.data.sources import SourceConfig
from components.data.tables import read_batches

PIECES = [*'a",\n\r \\\té\ufeff\u2028', '""', '"""', "\r\n", "x" * 20, '"a"', '","']
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
SIZES = st.lists(st.integers(0, 9), max_size=6)


def strictly(text: str, delimiter: str) -> list[list[str]] | None:
    """Return the records that are no blank lines, character by character; None if a quote is not right."""
    records: list[list[str]] = []
    fields, field, place, after = [], "", 0, False
    state = "start"  # of a field; or plain, quoted, closed (just after a closing quote)
    while place <= len(text):
        sign = text[place] if place < len(text) else ""
        if state == "quoted":
            if sign == "":
                return None
            if sign == '"' and text[place + 1 : place + 2] == '"':
                field, place = field + '"', place + 1
            elif sign == '"':
                state = "closed"
            else:
                field += sign
        elif sign in (delimiter, "\n", "\r", ""):
            fields.append(field)
            if sign != delimiter:
                if len(fields) > 1 or after or field.strip():
                    records.append(fields)
                fields = []
                place += text[place : place + 2] == "\r\n"
            field, state, after = "", "start", False
        elif state == "closed":
            return None
        elif sign == '"' and state == "start":
            state, after = "quoted", True
        else:
            field, state = field + sign, "plain"
        place += 1
    return records


def in_pieces(path: Path, text: str, delimiter: str, sizes: Sequence[int]) -> list[str]:
    check, start = Quotes(path, delimiter), 0
    for size in sizes:
        check.feed(text[start : start + size])
        start += size
    check.feed(text[start:])
    return check.finish()


def slowly(path: Path, source: SourceConfig) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(read_fields(path, source, file))


def full(records: list[list[str]]) -> Iterator[list[str]]:
    """Yield records as they are read: short ones filled up."""
    for fields in records:
        yield fields + [""] * (len(records[0]) - len(fields))


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(TEXTS, st.sampled_from([",", "\t", ";"]), SIZES, st.sampled_from([64, 1 << 20]))
@example('"one,good\ntwo,bad\n"four,bad\n', ",", [], 64)
@example('a,b\n"say \\"hi\\" now",x\n', ",", [3, 4], 64)
@example('a,b\r\n"c\r\nd",e', ",", [5], 64)
@example('a,b\n"c" ,d\n', ",", [], 64)
@example('a,b\nc,"', ",", [], 64)
@example('a,"b"', ",", [5], 64)
@example('"""",b\n"",""\n', ",", [1, 1, 1], 64)
def test_fast_and_slow_read_what_a_strict_parser_reads(text: str, delimiter: str, sizes: list[int], block: int) -> None:
    text = text.lstrip("\ufeff").replace(",", delimiter)
    expected = strictly(text, delimiter)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        path.write_bytes(text.encode())
        columns = {"text": 0, "label": 1}
        source = SourceConfig(url="any", header=False, delimiter=delimiter, columns=columns)
        if expected is None:
            with pytest.raises(TableError, match=r"line \d+.*source\.quoting=none") as caught:
                in_pieces(path, text, delimiter, sizes)
            with pytest.raises(TableError) as again:
                list(read_records(path, source, [0, 1]))
            assert str(caught.value).split(" comes ")[0] == str(again.value).split(" comes ")[0]
            return
        in_pieces(path, text, delimiter, sizes)
        whole = list(full(expected))
        if not whole or any(len(fields) > len(whole[0]) for fields in whole):
            return
        assert slowly(path, source) == whole
        if len(whole[0]) < 2:
            return
        found: list[list[str]] = []
        try:
            for cells in read_quickly(path, delimiter, True, range(len(whole[0])), block):
                found += (
                    [cell or "" for cell in row] for row in zip(*(each.to_pylist() for each in cells), strict=True)
                )
        except pa.ArrowException:
            assert found == whole[: len(found)]
        else:
            assert found == whole


def check(folder: Path, content: str | bytes, **options: object) -> tuple[list[list[object]], list[str]]:
    path = folder / "data.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    source = SourceConfig.model_validate({"url": "any", **options})
    seen = Seen()
    table = pa.Table.from_batches(read_batches(path, source, seen))
    return [[row["text"], row["label"]] for row in table.to_pylist()], seen.notes


HEAD = "text,label\n"
LINES = "".join(f"a text of number {row},good\n" for row in range(200))
WRONG = {
    "a stray quote far ahead of the next": (
        f'{HEAD}first,good\n"one,good\n{LINES}"four,bad\n{LINES}',
        r"line 204 \(the field began in line 3\): after the closing quote of a field comes 'four,bad', not a delimiter "
        r"or the end of the line; double the quotes inside a field, or set source\.quoting=none",
    ),
    "quotes escaped by backslashes": (
        f'{HEAD}a,b\n"say \\"hi\\" now",x\n',
        r"line 3: after the closing quote of a field comes 'hi.*double the quotes inside a field \(CSV knows no .\"\)",
    ),
    "a blank after a closing quote": (f'{HEAD}"a" ,b\n', r"line 2: after the closing quote of a field comes ' ,b'"),
    "a quote to the end of the file": (f'{HEAD}a,b\n\n"c,d\n{LINES}', r"opens a field in line 4 is never closed"),
    "a quote as the last character": (f'{HEAD}a,b\nc,"', r"opens a field in line 3 is never closed"),
    "line ends of Windows": ('text,label\r\na,b\r\n"c\r\nd"e,f\r\n', r"line 4 \(the field began in line 3\).*'e,f'"),
    "line ends of old Macs": ('text,label\ra,b\r"c"d,e\r', r"line 3: .* comes 'd,e'"),
    "a mark before the first quote": ('\ufeff"text"x,label\na,b\n', r"line 1: .* comes 'x,label'"),
    "quotes around the end of a text": (f'{HEAD}"six" tall,b\n', r"line 2: .* comes ' tall,b'"),
}  # fmt: skip


@pytest.mark.ci
@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_quote_that_is_not_right_is_named_with_its_line(tmp_path: Path, case: str, encoding: str) -> None:
    content, says = WRONG[case]
    if encoding != "utf-8":
        content = content.removeprefix("\ufeff")
    with pytest.raises(TableError, match=says) as caught:
        check(tmp_path, content.encode(encoding), encoding=encoding)
    assert "\n" not in str(caught.value)
    assert "source.quoting=none" in str(caught.value)


def test_tsv_is_held_to_the_same_rule(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"line 2: after the closing quote of a field comes ' x"):
        check(tmp_path, 'text\tlabel\n"a" x\tb\n', format="tsv")
    rows, _ = check(tmp_path, 'text\tlabel\n"a, ""b""\tc"\td\n', format="tsv")
    assert rows == [['a, "b"\tc', "d"]]


def test_quotes_inside_and_fields_over_lines_are_read_as_they_are(tmp_path: Path) -> None:
    content = 'text,label\n6" pipe and 5\' "x",a\n"two\nlines, ""quoted"", and\r\nthree",b\n"",c\n"é\r",d\r\nlast,"e"'
    rows, notes = check(tmp_path, content)
    assert rows == [
        ['6" pipe and 5\' "x"', "a"],
        ['two\nlines, "quoted", and\r\nthree', "b"],
        [None, "c"],
        ["é\r", "d"],
        ["last", "e"],
    ]
    assert notes == []
    assert check(tmp_path, content.encode("cp1252"), encoding="cp1252")[0] == rows
    assert check(tmp_path, content.encode("utf-16"), encoding="utf-16")[0] == rows


def test_any_table_of_a_csv_writer_is_read_back(tmp_path: Path) -> None:
    texts = [f'{"line, with" * (row % 3)}\n"x" {row}' if row % 7 == 0 else f"plain {row}" for row in range(3000)]
    with (tmp_path / "made.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], *([text, "b"] for text in texts)])
    rows, notes = check(tmp_path, (tmp_path / "made.csv").read_bytes())
    assert [row[0] for row in rows] == texts
    assert notes == []


@pytest.mark.ci
def test_a_huge_field_is_read_and_one_beyond_the_limit_is_named(tmp_path: Path) -> None:
    huge = "long, \n" * 400_000
    rows, _ = check(tmp_path, f'{HEAD}"{huge}",b\nc,d\n')
    assert rows == [[huge, "b"], ["c", "d"]]
    path = tmp_path / "x.csv"
    quotes = Quotes(path, ",")
    quotes.feed('a,b\n"')
    for _ in range(15):
        quotes.feed("y" * (1 << 20))
    with pytest.raises(TableError, match=r"opens a field in line 2 is never closed within the limit of 16,777,216"):
        quotes.feed("y" * (1 << 21))
    assert LONGEST_FIELD == 1 << 24


def test_a_field_over_lines_that_look_like_records_is_pointed_out(tmp_path: Path) -> None:
    swallowed = f'{HEAD}first,good\n"one,good\n{LINES}he said yes",bad\nlast,good\n'
    rows, notes = check(tmp_path, swallowed)
    assert len(rows) == 3
    assert re.fullmatch(
        r"data\.csv: a quoted field goes from line 3 to line 204, and the lines inside look like records; "
        r"if its quote is a character, set source\.quoting=none to take quotes as characters",
        *notes,
    )
    assert len(check(tmp_path, swallowed, quoting="none")[0]) == 204
    several = "text\tlabel\n" + '"a\tb\nc\td\ne"\tf\n' * 3
    assert "from line 2 to line 4 (2 more like it), and" in check(tmp_path, several, format="tsv")[1][0]


def test_what_python_and_pandas_make_of_a_stray_quote_can_be_asked_for(tmp_path: Path) -> None:
    rows, _ = check(tmp_path, f'{HEAD}"one,good\ntwo,bad\n"four,bad\n', quoting="lenient")
    assert rows == [["one,good\ntwo,bad\nfour", "bad"]]
