import csv
import gzip
import io
import tempfile
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.errors import DataRejected, TableError
from components.data.batches import schema, write_batches
from components.data.sources import SourceConfig
from components.data.tables import read_batches

ZIP = Path(__file__).parents[2].parent / "shared/data/sms+spam+collection.zip"
SMS = {"format": "tsv", "header": False, "columns": {"label": 0, "text": 1}}


def read_table(path: Path, source: SourceConfig) -> pd.DataFrame:
    return pa.Table.from_batches(read_batches(path, source), schema(source.table_columns)).to_pandas()


def table(folder: Path, content: bytes, **options: object) -> pd.DataFrame:
    path = folder / "raw"
    path.write_bytes(content)
    return read_table(path, SourceConfig.model_validate({"url": "raw", **options}))


def values(frame: pd.DataFrame, column: str) -> list[str | None]:
    return [None if pd.isna(value) else value for value in frame[column]]


@pytest.fixture
def sms(tmp_path: Path) -> Path:
    if not ZIP.is_file():
        pytest.skip(f"{ZIP} is absent")
    with zipfile.ZipFile(ZIP) as archive:
        return Path(archive.extract("SMSSpamCollection", tmp_path))


def test_the_real_data_reads_as_pandas_reads_it(sms: Path) -> None:
    frame = read_table(sms, SourceConfig.model_validate({"url": "sms", "quoting": "lenient", **SMS}))
    peer = pd.read_csv(sms, sep="\t", header=None, names=["label", "text"])
    assert len(frame) == 5572
    assert frame["label"].value_counts().to_dict() == {"ham": 4825, "spam": 747}
    assert frame["text"].tolist() == peer["text"].tolist()
    assert frame["label"].tolist() == peer["label"].tolist()
    assert frame["row"].tolist() == list(range(1, 5573))


@pytest.mark.ci
def test_the_real_data_without_quoting_has_every_line(sms: Path) -> None:
    frame = read_table(sms, SourceConfig.model_validate({"url": "sms", "quoting": "none", **SMS}))
    lines = [line.split("\t") for line in sms.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    assert len(frame) == 5574
    assert frame["label"].value_counts().to_dict() == {"ham": 4827, "spam": 747}
    assert list(zip(frame["label"], frame["text"], strict=True)) == [tuple(line) for line in lines]


def test_words_that_look_like_nothing_stay_words(tmp_path: Path) -> None:
    words = ["NA", "null", "None", "nan", "N/A", "#N/A", "-inf", "007", "1e5", "True", " padded "]
    frame = table(tmp_path, b"text,label\n" + "".join(f"{word},ham\n" for word in words).encode())
    assert values(frame, "text") == words
    assert values(frame, "label") == ["ham"] * len(words)


def test_empty_and_missing_fields_are_null(tmp_path: Path) -> None:
    frame = table(tmp_path, b'text,label\n,ham\n"",spam\nalone\n,\n')
    assert values(frame, "text") == [None, None, "alone", None]
    assert values(frame, "label") == ["ham", "spam", None, None]


def test_rows_count_records_from_one(tmp_path: Path) -> None:
    content = b'text,label\n"two\nlines",ham\n\nlast,spam\n'
    frame = table(tmp_path, content)
    assert frame.columns.tolist() == ["row", "text", "label"]
    assert frame["row"].tolist() == [1, 2]
    assert str(frame["row"].dtype) == "int64"
    assert values(frame, "text") == ["two\nlines", "last"]


def test_columns_by_name_and_by_position(tmp_path: Path) -> None:
    content = b"id,kind,words\n1,ham,hello\n"
    by_name = table(tmp_path, content, columns={"text": "words", "label": "kind"})
    by_position = table(tmp_path, content, columns={"text": 2, "label": 1})
    assert by_name.equals(by_position)
    assert by_name.values.tolist() == [[1, "hello", "ham"]]


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (
            b"text,kind\na,b\n",
            {},
            "no column label: source.columns.label is 'label', and the columns there are 'text', 'kind'",
        ),
        (b"words\na\n", {}, r"are 'words'; correct source.columns.text, or source.format \(csv\)"),
        (
            b"a\tb\n",
            {**SMS, "columns": {"text": 5, "label": 0}},
            "no column text: source.columns.text is 5, .* are 0, 1;",
        ),
        (
            b"title,label\na,b\n",
            {"columns": {"text": "{title} {body}", "label": "label"}},
            "columns.text names 'body', and",
        ),
        (b"a\tb\n", {**SMS, "columns": {"text": "{1} {2}", "label": 0}}, "columns.text names 2, .* are 0, 1;"),
    ],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path, content: bytes, options: dict[str, object], says: str
) -> None:
    with pytest.raises(DataRejected, match=says) as caught:
        table(tmp_path, content, **options)
    assert "\n" not in str(caught.value)


def test_a_column_that_is_not_mapped_is_left_out(tmp_path: Path) -> None:
    assert table(tmp_path, b"text,label\na,b\n", columns={"text": "text"}).columns.tolist() == ["row", "text"]


def test_a_template_joins_columns(tmp_path: Path) -> None:
    content = b"title,body,label\nGood,Quite,5\n,Only,4\nJust,,3\n,,2\n"
    frame = table(tmp_path, content, columns={"text": "{title}: {body}{{!}}", "label": "label"})
    assert values(frame, "text") == ["Good: Quite{!}", ": Only{!}", "Just: {!}", None]
    frame = table(tmp_path, b"a\tb\tc\n", **{**SMS, "columns": {"text": "{2}{1}", "label": 0}})
    assert values(frame, "text") == ["cb"]


def test_windows_line_ends_and_lines_without_text(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbftext,label\r\n"a\r\n\r\nb",x\r\n\r\n  \r\nc,y\r\n'
    frame = table(tmp_path, content)
    assert frame.to_numpy().tolist() == [[1, "a\r\n\r\nb", "x"], [2, "c", "y"]]


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", '"', ",", "\n", "\r\n", "\t", " ", "1", "é"]), max_size=30).map("".join),
    st.sampled_from(["lenient", "none"]),
)
def test_it_reads_as_pandas_does(content: str, quoting: str) -> None:
    """pandas is the peer where it accepts a file; it tells nothing of one column or of short first lines."""
    try:
        read = pd.read_csv(
            io.StringIO("x,y\n" + content),
            header=None,
            dtype="str",
            keep_default_na=False,
            na_values=[""],
            quoting=csv.QUOTE_NONE if quoting == "none" else csv.QUOTE_MINIMAL,
        )
    except pd.errors.ParserError:
        read = None
    with tempfile.TemporaryDirectory() as folder:
        options = {"header": False, "quoting": quoting, "columns": {"text": 0, "label": 1}}
        if read is None:
            with pytest.raises(TableError):
                table(Path(folder), b"x,y\n" + content.encode(), **options)
            return
        frame = table(Path(folder), b"x,y\n" + content.encode(), **options)
    assert values(frame, "text") == [None if pd.isna(cell) else cell for cell in read[0]]
    assert values(frame, "label") == [None if pd.isna(cell) else cell for cell in read[1]]


def test_labels_are_renamed_and_others_kept(tmp_path: Path) -> None:
    content = b"text,label\na,0\nb,1\nc,2\nd,\n"
    frame = table(tmp_path, content, label_map={0: "ham", "1": "spam"})
    assert values(frame, "label") == ["ham", "spam", "2", None]


def test_quotes_as_characters(tmp_path: Path) -> None:
    content = b'ham\t"hello\nspam\twin" now\n'
    assert values(table(tmp_path, content, quoting="none", **SMS), "text") == ['"hello', 'win" now']


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    frame = table(tmp_path, b"text,label\n", label_map={"0": "ham"})
    assert (len(frame), frame.columns.tolist()) == (0, ["row", "text", "label"])


def test_encodings(tmp_path: Path) -> None:
    assert values(table(tmp_path, "\ufefftext,label\nZoë,ham\n".encode()), "text") == ["Zoë"]
    latin = "text,label\n£5,ham\n".encode("latin-1")
    assert values(table(tmp_path, latin, encoding="cp1252"), "text") == ["£5"]


def test_the_content_is_never_decompressed_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv.gz"
    path.write_bytes(b"text,label\na,b\n")
    assert len(read_table(path, SourceConfig(url="raw"))) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (b"", {}, "raw is empty; check source.url"),
        (b"\n\n", {}, "raw is empty"),
        (b"text,label\na,b\nc,d,e\n", {}, r"line 3 has 3 fields, the first has 2; check source.format \(csv\)"),
        (b"text,label\na,b,c\nd,e,f\n", {}, "line 2 has 3 fields"),
        (
            b'text,label\na,b\n"c,d\n',
            {},
            "the quote that opens a field in line 3 is never closed; close it, or set source.quoting=none",
        ),
        (b"text,text,label\na,b,c\n", {}, "2 columns 'text'; rename one, or give source.columns as positions"),
        (gzip.compress(b"text,label\n", mtime=0), {}, "raw is an archive; set source.member"),
        ("text,label\nZoë,b\n".encode("utf-16"), {}, r"not utf-8: byte 0 \(line 1\)"),
        (b"text,label\na,b\nc\xff,d\n", {}, r"not utf-8: byte 16 \(line 3\); .* set source.encoding"),
        (b"text,label\nc,d\xc3", {}, r"byte 14 \(line 2\)"),
        (b'text,label\n"' + b"x" * 17_000_000, {}, r"opens a field in line 2 is never closed.*limit"),
        (b"PAR1....", {}, r"is a Parquet file, not csv; set source.format=parquet"),
        (b"text,label\n\x81,d", {"encoding": "cp1252"}, r"not cp1252: byte 11 \(line 2\)"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(
    tmp_path: Path, content: bytes, options: dict[str, object], says: str
) -> None:
    with pytest.raises(TableError, match=says) as caught:
        table(tmp_path, content, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_a_bad_byte_is_found_across_chunks(tmp_path: Path, shift: int) -> None:
    before = b"text,label\n" + b"x" * shift + "é".encode() * (1 << 19) + b"\n"
    with pytest.raises(TableError, match=rf"byte {len(before)} \(line 3\)"):
        table(tmp_path, before + b"\xe9,b\n")


def test_a_table_is_written_with_the_declared_schema_and_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"text,label\nNA,ham\n,spam\n")
    source = SourceConfig(url="raw")
    for name in ("one", "two"):
        assert write_batches(read_batches(tmp_path / "raw", source), schema(source.table_columns), tmp_path / name) == 2
    written = pq.read_table(tmp_path / "one")
    assert written.schema.equals(schema(["text", "label"]), check_metadata=True)
    assert written.to_pydict() == {"row": [1, 2], "text": ["NA", None], "label": ["ham", "spam"]}
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_any_texts_survive_a_csv_writer(tmp_path: Path) -> None:
    texts = ['say "hi"', "a,b", "line\nbreak", "tab\there", "emoji 😀", "'", '"', "#no comment", "\\N"]
    with (tmp_path / "raw").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], *([text, "ham"] for text in texts)])
    assert values(read_table(tmp_path / "raw", SourceConfig(url="raw")), "text") == texts
