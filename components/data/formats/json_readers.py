"""JSON and JSON Lines as records, a batch at a time."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from components.core.errors import TableError
from components.data.columns import Key
from components.data.formats.dialect import open_text
from components.data.formats.reading import BATCH, Batch, Seen, empty, no_column
from components.data.sources import FileSource

MISSING = object()


def read_json(path: Path, source: FileSource, keys: Sequence[Key], seen: Seen) -> Iterator[Batch]:
    """Yield the cells of a file that is one list of objects; see `readers.read_records`."""
    # Read whole: the standard library has no parser that stops in the middle of a list.
    with open_text(path, source.encoding) as file:
        written = file.read()
    if not written.strip():
        raise empty(path)
    try:
        content = json.loads(written, object_pairs_hook=_no_key_twice)
    except json.JSONDecodeError as error:
        hint = "; if it has an object a line, set source.format=jsonl" if error.msg == "Extra data" else ""
        raise TableError(
            f"{path.name} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}{hint}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path.name} cannot be read as JSON: {_why(error)}") from error
    if not isinstance(content, list):
        lists = [key for key, value in content.items() if isinstance(value, list)] if isinstance(content, dict) else []
        advice = f"write the list under {lists[0]!r} to a file of its own" if lists else "write it as [{...}, {...}]"
        raise TableError(f"{path.name} holds {_kind(content)}, not a list of objects; {advice}")
    records = ((f"record {row}", each) for row, each in enumerate(content, start=1))
    yield from _cells(path, source, keys, records, seen)


def read_json_lines(path: Path, source: FileSource, keys: Sequence[Key], seen: Seen) -> Iterator[Batch]:
    """Yield the cells of a file with an object a line; see `readers.read_records`."""
    with open_text(path, source.encoding, newline="\n") as file:
        records = _objects(path, file)
        first = next(records, None)
        if first is None:
            raise empty(path)
        yield from _cells(path, source, keys, chain([first], records), seen)


def _objects(path: Path, file: TextIO) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", json.loads(line.rstrip(), object_pairs_hook=_no_key_twice)
        except json.JSONDecodeError as error:
            fault = f"{error.msg} at column {error.colno}"
            hint = "; if the file is one list, set source.format=json" if number == 1 and line.startswith("[") else ""
            raise TableError(f"{path.name}: line {number} is not JSON: {fault}; correct or remove it{hint}") from error
        except (ValueError, RecursionError) as error:
            fault = f"line {number} cannot be read: {_why(error)}; correct or remove it"
            raise TableError(f"{path.name}: {fault}") from error


def _why(error: Exception) -> str:
    """Return in words of JSON what Python says of its own limits."""
    if isinstance(error, RecursionError):
        return "lists and objects stand in one another too deeply"
    return "a number has thousands of digits" if "digits" in str(error) else str(error)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's values by their keys; JSON leaves open which of two values under one key counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"an object has the key {twice!r} more than once")
    return found


def _cells(
    path: Path, source: FileSource, keys: Sequence[Key], records: Iterator[tuple[str, object]], seen: Seen
) -> Iterator[Batch]:
    """Yield the values under `keys` in batches; a record may lack a key, but not all may."""
    unseen = set(keys)
    names = seen.columns
    while batch := list(islice(records, BATCH)):
        for place, record in batch:
            if not isinstance(record, dict):
                hint = "; if the file is one list, set source.format=json" if isinstance(record, list) else ""
                fault = f"{_kind(record)}, not an object with the columns{hint}"
                raise TableError(f"{path.name}: {place} holds {fault}")
            if not record.keys() <= names.keys():
                names.update(dict.fromkeys(record))
        columns = [[_value(record, str(key)) for _, record in batch] for key in keys]
        unseen -= {key for key, cells in zip(keys, columns, strict=True) if any(cell is not MISSING for cell in cells)}
        yield [[None if cell is MISSING else cell for cell in cells] for cells in columns]
    for key in keys:
        if key in unseen and names and key != source.optional:
            raise no_column(path, source, key, list(names))


def _value(record: Any, key: str) -> object:
    value = record.get(key, MISSING)
    if value is not MISSING or "." not in key:
        return value
    for name in key.split("."):
        record = record.get(name, MISSING) if isinstance(record, dict) else MISSING
    return record


def _kind(value: object) -> str:
    kinds = {dict: "one object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
