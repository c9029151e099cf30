"""Files in any encoding, with any delimiter, and files that are something else: read, or told in a line what to do."""

import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from components.core.errors import DataRejected, TableError
from components.data.download import download
from components.data.formats.encoding import CHUNK, likely_encoding
from components.data.formats.reading import Seen
from components.data.sources import InstructionSourceConfig, SourceConfig
from components.data.tables import read_batches
from components.data.validation.rules import ValidationConfig

SHARED = Path(__file__).parents[3].parent / "shared/data"
TEXTS = {
    "cp1252": "déjà vu – für £5 ça va",
    "latin-1": "déjà vu für £5",
    "cp949": "오늘 날씨가 정말 좋네요",
    "euc_kr": "오늘 날씨가 정말 좋네요",
    "shift_jis": "これは日本語の文章です。ソ能",  # characters whose second byte is a backslash or a bar
    "euc_jp": "これは日本語の文章です",
    "iso2022_jp": "これは日本語の文章です",
    "gb18030": "这是一个中文句子，今天天气很好 😀",
    "big5": "這是一個中文句子",
    "cp1251": "Это русское предложение",
    "koi8-r": "Это русское предложение",
    "utf-16": "Zoë 오늘 😀",
    "utf-16-le": "Zoë 오늘 😀",
    "utf-16-be": "Zoë 오늘 😀",
    "utf-32": "Zoë 오늘 😀",
    "utf-7": "Zoë",
    "UTF8": "Zoë 오늘 😀",
    "utf-8-sig": "Zoë 오늘 😀",
    "cp037": "plain EBCDIC",
}


def read(folder: Path, content: bytes, name: str = "data.csv", seen: Seen | None = None, **options: Any) -> Any:
    path = folder / name
    path.write_bytes(content)
    source = SourceConfig.model_validate({"url": str(path), **options})
    return pa.Table.from_batches(read_batches(path, source, seen)).to_pydict()


@pytest.mark.ci
@pytest.mark.parametrize("encoding", TEXTS)
@pytest.mark.parametrize("kind", ["csv", "json", "jsonl"])
def test_any_encoding_is_read(tmp_path: Path, encoding: str, kind: str) -> None:
    text = TEXTS[encoding]
    written = {
        "csv": f'text,label\r\n"{text}, ""x""\n|\\",a\r\n{text},b\r\n',
        "jsonl": f'{{"text": "{text}, \\"x\\"\\n|\\\\", "label": "a"}}\n{{"text": "{text}", "label": "b"}}\n',
        "json": f'[{{"text": "{text}, \\"x\\"\\n|\\\\", "label": "a"}},\n{{"text": "{text}", "label": "b"}}]',
    }
    found = read(tmp_path, written[kind].encode(encoding), format=kind, encoding=encoding)
    assert found == {"row": [1, 2], "text": [f'{text}, "x"\n|\\', text], "label": ["a", "b"]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "gb18030", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path, encoding: str) -> None:
    for content in ('\ufefftext,label\n"a",b\n', '\ufeff"text","label"\n"a",b\n'):
        assert read(tmp_path, content.encode(encoding), encoding=encoding)["text"] == ["a"]


@pytest.mark.parametrize(
    ("encoding", "says"),
    [
        ("base64", "base64 is not an encoding of text files"),
        ("zlib", "zlib is not an encoding of text"),
        ("rot13", "rot13 is not an encoding of text"),
        ("hex", "hex is not an encoding of text"),
        ("idna", "idna is not an encoding of text"),
        ("punycode", "punycode is not an encoding of text"),
        ("unicode_escape", "unicode_escape is not an encoding of text"),
        ("undefined", "undefined is not an encoding of text"),
        ("utf-9", "Python knows no such encoding; utf-8, cp1252"),
        ("a\0b", "Python knows no such encoding"),
        ("", "Python knows no such encoding"),
    ],
)
def test_what_is_no_encoding_of_text_is_refused_when_it_is_read(encoding: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SourceConfig(url="a", encoding=encoding)


def test_parquet_has_an_encoding_of_its_own() -> None:
    assert SourceConfig(url="a", format="parquet", encoding="UTF8")
    with pytest.raises(ValidationError, match="encoding means nothing for format=parquet"):
        SourceConfig(url="a", format="parquet", encoding="cp949")


LONGER = {
    "cp949": "text,label\n" + "오늘 날씨가 정말 좋네요,일상\n헤어졌어요 너무 슬프네요,이별\n" * 30,
    "cp932": "text,label\n" + "これは日本語の文章です。とても良い天気ですね,良い\n昨日は映画を見ました,悪い\n" * 20,
    "gb18030": "text,label\n" + "这是一个中文句子，今天天气很好,好\n我昨天看了电影,坏\n" * 20,
    "cp1251": "text,label\n" + "Это русское предложение, сегодня хорошая погода,да\n".replace(", ", " ") * 20,
    "cp1252": "text,label\n" + "Café à la crème pour £5 déjà vu,ham\nGrüße aus München – süß,spam\n" * 20,
    "utf-16": "text,label\n" + "Zoë says hello to you all,ham\n" * 20,
}


@pytest.mark.ci
@pytest.mark.parametrize("encoding", LONGER)
def test_the_likely_encoding_is_named_and_is_the_right_one(tmp_path: Path, encoding: str) -> None:
    content = LONGER[encoding].encode(encoding)
    says = (
        rf"data\.csv is not utf-8: byte \d+ \(line [12]\); it looks like {encoding}: set source\.encoding={encoding}$"
    )
    with pytest.raises(TableError, match=says):
        read(tmp_path, content)
    assert read(tmp_path, content, encoding=encoding)["row"][-1] >= 20
    far = b"a,b\n" * CHUNK + content  # the first wrong byte in a later piece
    if encoding != "utf-16":
        with pytest.raises(TableError, match=rf"\(line {CHUNK + 2}\); it looks like {encoding}"):
            read(tmp_path, b"text,label\n" + far.replace(b"text,label\n", b""))


def test_real_korean_questions_are_recognised(tmp_path: Path) -> None:
    path = SHARED / "korean-chatbot.csv"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    columns = {"text": "Q", "label": "label"}
    content = path.read_text(encoding="utf-8").encode("cp949", "ignore")
    with pytest.raises(TableError, match=r"it looks like cp949: set source\.encoding=cp949"):
        read(tmp_path, content, columns=columns)
    assert len(read(tmp_path, content, columns=columns, encoding="cp949")["row"]) == 11823


def test_utf_16_without_a_mark_is_recognised_by_its_zeros(tmp_path: Path) -> None:
    content = LONGER["utf-16"].replace("ë", "e").encode("utf-16-le")
    with pytest.raises(
        TableError, match=r"every other byte is zero; it looks like utf-16-le: set source\.encoding=utf"
    ):
        read(tmp_path, content)
    with pytest.raises(TableError, match=r"is not utf-16: .*; set source\.encoding|it looks like utf-16-le"):
        read(tmp_path, "text,label\na,b\n".encode("utf-16-be"), encoding="utf-16")
    assert likely_encoding(b"") in (None, "utf-8", "ascii")


@pytest.mark.parametrize("encoding", ["cp949", "utf-16", "shift_jis", "gb18030"])
def test_a_byte_that_is_not_of_the_encoding_is_named_with_its_line(tmp_path: Path, encoding: str) -> None:
    before = (
        "text,label\n" + "가나,b\n".encode("cp949").decode("cp949") * 3 if encoding == "cp949" else "text,label\na,b\n"
    )
    content = before.encode(encoding)
    bad = b"\x00\xdc" if encoding == "utf-16" else b"\xff\xff"
    line = before.count("\n") + 1
    with pytest.raises(TableError, match=rf"is not {encoding}: byte {len(content)} \(line {line}\)"):
        read(tmp_path, content + bad + b",b\n", encoding=encoding)


def test_utf_8_that_is_read_as_something_else_is_pointed_out(tmp_path: Path) -> None:
    seen = Seen()
    read(tmp_path, "text,label\nZoë,b\n".encode(), encoding="latin-1", seen=seen)
    assert seen.notes == ["data.csv is valid UTF-8, but is read as latin-1; set source.encoding=utf-8"]
    for content in (b"text,label\nZoe,b\n", "text,label\nZoë,b\n".encode("latin-1")):
        seen = Seen()
        read(tmp_path, content, encoding="latin-1", seen=seen)
        assert seen.notes == []


@pytest.mark.parametrize("delimiter", [";", "|", "\t", ":", " ", "§", "\x1f"])
def test_any_character_may_stand_between_fields(tmp_path: Path, delimiter: str) -> None:
    content = f'text{delimiter}label\n"a{delimiter}b"{delimiter}x\nc,d{delimiter}y\n'.encode()
    found = read(tmp_path, content, delimiter=delimiter)
    assert found == {"row": [1, 2], "text": [f"a{delimiter}b", "c,d"], "label": ["x", "y"]}


def test_a_tab_may_be_written_with_a_backslash(tmp_path: Path) -> None:
    assert read(tmp_path, b"text\tlabel\na\tb\n", delimiter="\\t")["text"] == ["a"]
    assert read(tmp_path, b"text,label\na,b\n", format="tsv", delimiter=",")["text"] == ["a"]


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "\r", "\0"])
def test_what_cannot_be_a_delimiter_is_refused(delimiter: str) -> None:
    with pytest.raises(ValidationError, match="it is one character, in quotes where YAML"):
        SourceConfig(url="a", delimiter=delimiter)
    with pytest.raises(ValidationError, match="delimiter means nothing for format=jsonl"):
        SourceConfig(url="a", format="jsonl", delimiter=";")


@pytest.mark.parametrize(
    ("delimiter", "options", "advice"),
    [
        (";", {}, 'source.delimiter=";"'),
        ("|", {}, 'source.delimiter="|"'),
        ("\t", {}, "source.format=tsv"),
        (",", {"format": "tsv"}, 'source.delimiter=","'),
        (";", {"format": "tsv"}, 'source.delimiter=";"'),
    ],
)
def test_another_delimiter_is_recognised(tmp_path: Path, delimiter: str, options: dict[str, Any], advice: str) -> None:
    lines = [
        "label_text".replace("_", delimiter),
        f"good{delimiter}well{'; ' if delimiter == ',' else ', '}well",
        f'bad{delimiter}"no{delimiter}way"',
    ]
    says = "its fields are separated by .*: set " + advice.replace("|", r"\|") + "$"
    columns = {"text": "text", "label": "label"}
    for content in ("\n".join(lines), "\r\n".join(lines) + "\r\n"):
        with pytest.raises(DataRejected, match=says):
            read(tmp_path, content.encode(), columns=columns, **options)
    without = {"header": False, "columns": {"label": 0, "text": 1}, **options}
    with pytest.raises((DataRejected, TableError), match=says):
        read(tmp_path, "\n".join([f"good{delimiter}well", *lines[1:]]).encode(), **without)


def test_a_file_with_too_many_fields_is_not_taken_for_one_with_other_delimiters(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"line 3 has 3 fields, the first has 2; check source.format \(csv\)"):
        read(tmp_path, b"text,label\na; b,c\nd,e,f\n")


def workbook(path: Path, kind: str) -> bytes:
    with zipfile.ZipFile(path / "made.zip", "w") as archive:
        for name in {"xlsx": ["[Content_Types].xml", "xl/workbook.xml"], "ods": ["mimetype", "content.xml"]}[kind]:
            archive.writestr(name, "x")
    return (path / "made.zip").read_bytes()


@pytest.mark.parametrize("format", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_spreadsheets_are_recognised_by_what_they_hold(tmp_path: Path, format: str) -> None:
    for name in ("data.xlsx", "data.csv"):
        with pytest.raises(TableError, match=rf"{name} is an Excel workbook, not {format}; save it as CSV in UTF-8"):
            read(tmp_path, workbook(tmp_path, "xlsx"), name, format=format)
        with pytest.raises(TableError, match=r"is an OpenDocument spreadsheet, not .*; save it as CSV"):
            read(tmp_path, workbook(tmp_path, "ods"), name, format=format)
        with pytest.raises(TableError, match=r"is an Excel workbook, not .*; save it as CSV"):
            read(tmp_path, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), name, format=format)


def test_spreadsheets_are_recognised_by_their_names(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"data.xls is a spreadsheet, by its name, not csv; save it as CSV"):
        read(tmp_path, b"<html><table><tr><td>text</td></tr></table>", "data.xls")
    assert read(tmp_path, b"text,label\na,b\n", "data.xls")["text"] == ["a"]  # whatever it is called
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.csv", "text,label\n")
    with pytest.raises(TableError, match=r"is an archive; set source\.member"):
        read(tmp_path, (tmp_path / "other.zip").read_bytes())


COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_labels_that_look_the_same_are_the_same(tmp_path: Path, kind: str) -> None:
    rows = [("a", COMPOSED), ("b", DECOMPOSED), ("c", "tea"), ("d", "")]
    lines = "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)
    objects = ", ".join(f'{{"text": "{text}", "label": "{label}"}}' for text, label in rows)
    content = (lines if kind == "csv" else f"[{objects}]").encode()
    none = None if kind == "csv" else ""
    assert read(tmp_path, content, format=kind)["label"] == [COMPOSED, COMPOSED, "tea", none]
    for key in (COMPOSED, DECOMPOSED):
        found = read(tmp_path, content, format=kind, label_map={key: "bar", "tea": DECOMPOSED})
        assert found["label"] == ["bar", "bar", COMPOSED, none]
    assert read(tmp_path, content, format=kind)["text"] == ["a", "b", "c", "d"]


def test_declared_labels_are_composed_too() -> None:
    assert ValidationConfig(labels=[DECOMPOSED, "tea"]).labels == [COMPOSED, "tea"]
    with pytest.raises(ValidationError, match="labels"):
        ValidationConfig(labels=[DECOMPOSED, COMPOSED])
    with pytest.raises(ValidationError, match=r"'café' is there in two of Unicode's forms that look the same"):
        SourceConfig.model_validate({"url": "a", "label_map": {COMPOSED: "a", DECOMPOSED: "b"}})


def test_tasks_are_composed_like_labels_and_texts_are_left_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f'{{"instruction": "{DECOMPOSED}", "output": "{DECOMPOSED}", "kind": "{DECOMPOSED}"}}\n')
    columns = {"instruction": "instruction", "output": "output", "task": "kind"}
    source = InstructionSourceConfig.model_validate({"url": str(path), "format": "jsonl", "columns": columns})
    (row,) = pa.Table.from_batches(read_batches(path, source)).to_pylist()
    assert (row["instruction"], row["output"], row["task"]) == (DECOMPOSED, DECOMPOSED, COMPOSED)


def test_a_download_says_what_it_noticed(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("id,text,label\n1,Zoë,b\n", encoding="utf-8")
    source = SourceConfig(url=str(tmp_path / "data.csv"), encoding="cp1252")
    (tmp_path / "out").mkdir()
    facts = download(source, tmp_path / "downloads", None, tmp_path / "out")
    assert facts["notes"][0] == "data.csv is valid UTF-8, but is read as cp1252; set source.encoding=utf-8"
