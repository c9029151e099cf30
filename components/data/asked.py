"""Rows that a model is asked about, in a file of any format: found and read like those that it learnt from."""

from codecs import BOM_UTF8 as BOM
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from components.core.errors import TableError
from components.data.answered import merged
from components.data.columns import Key
from components.data.formats.dialect import DELIMITED, SUFFIXES, Format, is_utf8, json_format, open_text
from components.data.formats.encoding import check_text
from components.data.formats.readers import columns_there, read_parquet, read_records
from components.data.formats.reading import BATCH, SPREADSHEETS, Seen, begins_like
from components.data.sources import FileSource, InstructionSourceConfig, SourceConfig
from components.data.tables import batch_of
from components.data.turns import recognised

WRITTEN = ("header", "delimiter", "quoting", "encoding")
"""What a file has in common with the one that was learnt from, if its format is the same."""
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"\x28\xb5\x2f\xfd")
"""How files of gzip, bzip2, xz, zip and zstandard begin."""


class TextSource(SourceConfig):
    """A file of texts."""

    fields: ClassVar[tuple[str, ...]] = ("text",)
    own: ClassVar[tuple[str, ...]] = ("text",)
    """The columns that a file has where nothing is known of it."""
    may_be_json: ClassVar[bool] = False
    """Whether a file whose name says no format is JSON if it begins like JSON; any text may."""


class PromptSource(InstructionSourceConfig):
    """A file of instructions with their inputs, or of conversations."""

    fields: ClassVar[tuple[str, ...]] = ("instruction", "input", "messages", "system", "history")
    own: ClassVar[tuple[str, ...]] = ("instruction", "input")
    answered: ClassVar[bool] = False
    required: ClassVar[tuple[str, ...]] = ("instruction",)
    may_be_json: ClassVar[bool] = True


Kind = type[TextSource] | type[PromptSource]


@dataclass(frozen=True)
class Rows:
    """Some rows."""

    texts: dict[str, list[str | None]]
    """What the model is asked, by field."""
    columns: dict[str, Sequence[object] | pa.Array]
    """All that stands in the file, by column."""

    def __len__(self) -> int:
        return len(next(iter(self.texts.values())))

    def head(self, most: int) -> "Rows":
        """Return the first rows, at most so many."""
        texts = {field: cells[:most] for field, cells in self.texts.items()}
        return Rows(texts, {name: cells[:most] for name, cells in self.columns.items()})


def find_source(
    kind: Kind, file: Path, learnt: Mapping[str, Any] | None, given: Mapping[str, Any]
) -> FileSource | None:
    """Return how a file is to be read, None if as plain text.

    Its columns are those that the model learnt from, with the templates over them; where they are not there, those that
    go by the names of the model's own fields (`text`; `instruction`, `input`). The format is known by the file's name;
    where that tells none, it is that of the file that was learnt from, if something is given that only a table has, or
    the file begins like that one.

    Args:
        kind: `TextSource` or `PromptSource`.
        file: the file.
        learnt: the keys `dialect.READING` of the source that the model learnt from, if they are known.
        given: keys of `source` that the user has set.

    Raises:
        pydantic.ValidationError: if what is given cannot be.
        TableError: if the file cannot be read, as `readers.read_records`, or its format has to be given too.
    """
    learnt = learnt or {}
    named = given.get("format") or format_of(file, kind.may_be_json)
    form: Format | None = named or (learnt["format"] if learnt.get("format") in DELIMITED else None)
    looked_into = not named and not given.keys() - {"encoding"}
    if form is None:
        if looked_into:
            return None
        raise TableError(f"{file.name}: its name says no format; also set source.format")
    own = dict(zip(kind.own, kind.own, strict=True))
    mapped = {field: column for field, column in learnt.get("columns", own).items() if field in kind.fields}
    alike = {key: learnt[key] for key in WRITTEN if learnt.get("format") == form and key in learnt}
    tree = {**alike, **given, "url": str(file), "format": form}
    if "columns" in given or "header" in given:
        names = any(isinstance(column, str) for column in given.get("columns", {}).values())
        header = given.get("header", names or tree.get("header", True))
        return kind.model_validate({**tree, "header": header, "columns": {**mapped, **given.get("columns", {})}})
    header, by_position = learnt.get("header", True), any(isinstance(column, int) for column in mapped.values())
    as_learnt = None
    if not (not header and form not in DELIMITED) and not (by_position and form in ("json", "jsonl")):
        as_learnt = kind.model_validate({**tree, "header": header, "columns": mapped})
    # What can be read once only is not looked into.
    if looked_into and not (as_learnt and file.is_file() and begins_like(file, as_learnt)):
        return None
    by_name = kind.model_validate({**tree, "header": True, "columns": own})
    if isinstance(by_name, PromptSource):
        by_name = recognised(file, by_name, own)
    if as_learnt is None or mapped == own:
        return by_name
    for source in (as_learnt, by_name) if header else (by_name, as_learnt):
        if not missing_columns(source, columns_there(file, source)):
            return source
    return as_learnt


def read_rows(file: Path, source: FileSource, there: Sequence[Key], whole: bool, seen: Seen) -> Iterator[Rows]:
    """Yield what a model is asked, some thousand rows at a time; with all columns of the file, if it is to be `whole`.

    Raises:
        TableError, DataRejected: as `readers.read_records`.
    """
    keys = source.read_columns()
    if source.format == "parquet":
        read = read_parquet(file, source, keys, seen, whole)
        batches = (
            (
                dict(zip(keys, cells, strict=True)),
                dict(zip(distinct(batch.schema.names), batch.columns, strict=True)) if whole else {},
            )
            for batch, cells in read
        )
    else:
        # By position where that can be: what is only copied may have the name of another column, or none.
        copied: Sequence[Key] = range(len(there)) if source.format in DELIMITED else there
        kept = dict(zip(distinct(there), copied, strict=True)) if whole else {}
        every = list(dict.fromkeys([*keys, *kept.values()]))
        records = (dict(zip(every, cells, strict=True)) for cells in read_records(file, source, every, seen))
        batches = ((cells, {name: cells[key] for name, key in kept.items()}) for cells in records)
    done = 0
    for cells, columns in batches:
        batch = batch_of(file, source, cells, done)
        texts = {field: batch[field].to_pylist() for field in source.table_columns}
        yield Rows(texts, columns or dict(texts))
        done += batch.num_rows


def distinct(names: Sequence[Key]) -> list[str]:
    """Return the names that columns have in an output, where each stands once: a second `x` becomes `x_2`."""
    taken = {str(name) for name in names}
    found: dict[str, None] = {}
    for name in map(str, names):
        others = (f"{name}_{number}" for number in count(2))
        new = next(each for each in others if each not in taken and each not in found) if name in found else name
        found[new] = None
    return list(found)


def is_plain(kind: Kind, file: Path, given: Mapping[str, Any]) -> bool:
    """Say whether a file is plain text, as far as can be said without a look into it."""
    return not (given or kind.may_be_json or file.suffix.lower() in (*SUFFIXES, *SPREADSHEETS))


def read_plain(kind: Kind, file: Path, given: Mapping[str, Any], seen: Seen) -> Iterator[Rows]:
    """Yield the lines of a file of plain text, in UTF-8 or the encoding that is given.

    Raises:
        pydantic.ValidationError: if there is no such encoding.
        TableError: if the file is not in it.
    """
    field = kind.fields[0]
    columns = dict(zip(kind.own, kind.own, strict=True))
    source = kind.model_validate({"format": "csv", "quoting": "none", **given, "url": str(file), "columns": columns})
    if is_utf8(source.encoding):
        with file.open("rb") as lines:
            yield from read_lines(lines, str(file), field)
        return
    seen.notes += check_text(file, source)
    with open_text(file, source.encoding, newline="\n") as text:
        yield from read_lines((line.encode() for line in text), str(file), field)


def read_lines(lines: Iterable[bytes], name: str, field: str) -> Iterator[Rows]:
    """Yield texts, one a line, some thousand at a time; a byte order mark is no part of the first.

    Raises:
        TableError: at a line that is not UTF-8.
    """
    numbered = enumerate(lines, start=1)
    while batch := list(islice(numbered, BATCH)):
        texts: list[str | None] = []
        for number, line in batch:
            try:
                text = (line.removeprefix(BOM) if number == 1 else line).decode()
            except UnicodeDecodeError as error:
                if number == 1 and line.startswith(COMPRESSED):
                    raise TableError(f"{name} is compressed; unpack it first") from error
                where = f"line {number}, byte {error.start} of it"
                raise TableError(f"{name} is not UTF-8: {where}; convert it first") from error
            texts.append(text.removesuffix("\n").removesuffix("\r"))
        yield Rows({field: texts}, {field: texts})


def format_of(file: Path, may_be_json: bool) -> Format | None:
    """Return the format that a file's name says it has, or JSON of its beginning where it may be that; else None."""
    suffix = file.suffix.lower()
    form: Format | None = "csv" if suffix in SPREADSHEETS else SUFFIXES.get(suffix)  # the first is refused when read
    if form == "json" or (form is None and may_be_json):
        return json_format(file) or ("jsonl" if form else None)
    return form


def missing_columns(source: FileSource, there: Sequence[Key]) -> list[Key]:
    """Return which columns of a source a file does not have; in JSON and Parquet they may be inside of those there."""
    inside = set() if source.format in DELIMITED else {str(key) for key in there}
    return [
        key
        for key in source.read_columns()
        if key != source.optional
        and not (key < len(there) if isinstance(key, int) else key in there or key.split(".")[0] in inside)
    ]


def columns_of(file: Path, source: FileSource, names: Sequence[Key], typed: bool) -> pa.Schema:
    """Return the columns `names` of a file as those of a table, if `typed` of types that hold its values.

    Raises:
        TableError: as `readers.read_records`.
    """
    if source.format == "parquet":
        schema = pq.read_schema(file)
        return pa.schema([column.with_name(name) for column, name in zip(schema, distinct(schema.names), strict=True)])
    if source.format in DELIMITED or not typed or not names:
        return pa.schema([(name, pa.string()) for name in distinct(names)])
    kinds: list[pa.DataType | None] = [None] * len(names)
    for cells in read_records(file, source, names):
        kinds = [merged(kind, column) for kind, column in zip(kinds, cells, strict=True)]
    return pa.schema([(str(name), kind) for name, kind in zip(names, kinds, strict=True)])
