"""What is read and folded quickly is what is read and folded text by text."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.core.errors import TableError
from components.data.formats.quotes import Quotes
from components.data.formats.readers import read_fields, read_quickly
from components.data.sources import SourceConfig
from components.data.split.folding import fold, fold_all

PIECES = [
    "a",
    "bc",
    '"',
    '""',
    ",",
    ",,",
    "\n",
    "\r\n",
    "\r",
    " ",
    "\t",
    "\0",
    "é",
    "\ufeff",
    "\u2028",
    "\x0b",
    "x" * 20,
]


@pytest.mark.ci
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.sampled_from(["default", "none"]),
    st.sampled_from([16, 64, 1 << 20]),
)
@example('a,b\nc,"', "default", 1 << 20)
@example('a,b\n"c\n,d', "default", 1 << 20)
@example("a,b\n \nc,d", "default", 1 << 20)
@example("\0,\0\n\0,\0", "default", 1 << 20)
@example('a,b\n"x"y"z,1\n', "default", 1 << 20)
def test_what_is_read_quickly_is_what_python_reads(content: str, quoting: str, block: int) -> None:
    source = SourceConfig(url="any", header=False, quoting=quoting, columns={"text": 0, "label": 1})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        path.write_bytes(content.encode())
        if quoting == "default":  # others are refused before
            check = Quotes(path, ",")
            try:
                check.feed(content.removeprefix("\ufeff"))
                check.finish()
            except TableError:
                return
        expected: list[list[str | None]] = []
        whole = True
        with path.open(encoding="utf-8-sig", newline="") as file:
            try:
                for fields in read_fields(path, source, file):
                    expected.append([field or None for field in fields])
            except TableError:
                whole = False
        if not expected or len(expected[0]) < 2:
            return
        places = range(len(expected[0]))
        found: list[list[str | None]] = []
        try:
            for columns in read_quickly(path, ",", quoting == "default", places, block):
                found += map(list, zip(*(column.to_pylist() for column in columns), strict=True))
        except pa.ArrowException:
            assert found == expected[: len(found)]
        else:
            assert whole
            assert found == expected


def test_most_files_are_read_quickly_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('text,label\n"a, ""b""\nc",x\n\nd,\n')
    columns = [list(column.to_pylist()) for column in next(read_quickly(path, ",", True, [1, 0]))]
    assert columns == [["label", "x", None], ["text", 'a, "b"\nc', "d"]]
    path.write_text("text,label\n\na,b\nc\n")
    with pytest.raises(pa.ArrowInvalid):
        list(read_quickly(path, ",", True, [0]))


TEXTS = st.one_of(
    st.text(st.characters(max_codepoint=127)),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.sampled_from(list("aAß9 ٣\u00a0\u1680\x1c\x85\ufb01İıſKÅ̈ΣςＡ３\u2003\0"))),
)


@pytest.mark.ci
@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), TEXTS), max_size=30))
@example(["".join(map(chr, range(128))), None, "", "ẞ", "A b 1"])
def test_folding_a_column_is_folding_each_text(texts: list[str | None]) -> None:
    assert fold_all(texts).tolist() == [fold(text or "") for text in texts]
