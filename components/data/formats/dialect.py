"""How a file of records is written: its format, its characters, and what stands between and around its fields."""

import codecs
from pathlib import Path
from typing import Annotated, Literal, TextIO

from pydantic import AfterValidator

Format = Literal["csv", "tsv", "json", "jsonl", "parquet"]
DELIMITED = ("csv", "tsv")
SEPARATORS = {"csv": ",", "tsv": "\t"}
"""What stands between fields unless `source.delimiter` says otherwise."""
SUFFIXES: dict[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet",
}  # fmt: skip
"""Which format a file's name says that it has."""
READING = ("format", "header", "delimiter", "quoting", "encoding", "columns")
"""The keys of `source` that say how a file is read, wherever it is."""
Quoting = Literal["default", "none", "lenient"]

NO_FILES = ("idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined")
"""Codecs by which Python writes names and literals: no file is encoded in them."""
UTF_8 = ("utf-8", "utf-8-sig")


def is_utf8(encoding: str) -> bool:
    """Say whether an encoding is UTF-8, however it is written."""
    return codecs.lookup(encoding).name in UTF_8


def json_format(path: Path) -> Literal["json", "jsonl"] | None:
    """Return which of the two a file is that begins like JSON, in any encoding, with blanks before it; None if none."""
    with path.open("rb") as raw:
        start = raw.read(1 << 12)
    # Without byte order marks, and without the zeros of UTF-16.
    start = start.removeprefix(codecs.BOM_UTF8).lstrip(b"\xff\xfe").replace(b"\0", b"").lstrip()
    return "json" if start.startswith(b"[") else "jsonl" if start.startswith(b"{") else None


def open_text(path: Path, encoding: str, newline: str = "") -> TextIO:
    """Open a file to read its text; a byte order mark is no part of it."""
    file = path.open(encoding=encoding, newline=newline)
    try:
        if file.read(1) != "\ufeff":
            file.seek(0)
    except UnicodeError:
        file.close()
        raise
    return file


def _known_encoding(name: str) -> str:
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        raise ValueError("Python knows no such encoding; utf-8, cp1252, utf-16, cp949, shift_jis are some") from None
    if not codec._is_text_encoding or codec.name in NO_FILES or codec.incrementaldecoder is None:
        raise ValueError(f"{name} is not an encoding of text files; utf-8, cp1252, utf-16, cp949 are some")
    return name


def _one_character(text: str) -> str:
    text = "\t" if text == "\\t" else text
    if len(text) != 1 or text in '"\r\n\0\ufeff':
        raise ValueError('it is one character, in quotes where YAML would take it for something else: ";", "|", "\\t"')
    return text


Encoding = Annotated[str, AfterValidator(_known_encoding)]
"""The name of any of Python's encodings of text.
https://docs.python.org/3/library/codecs.html#standard-encodings"""
Delimiter = Annotated[str, AfterValidator(_one_character)]
"""One character, neither a quote nor the end of a line."""
