"""Files of conversations: OpenAI's `messages`, ShareGPT's `conversations`, prompt and completion, Alpaca's `history`.

Each becomes an entry: the last instruction, the output that is its answer, and the history of the turns before. What is
no such conversation is kept whole in its history, without an instruction, for validation to say what is wrong.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from components.conversations import Message, as_message, find_fault, is_learnt, write_history
from components.core.errors import DataRejected, TableError
from components.core.yaml_loader import load_json
from components.data.columns import Key
from components.data.formats.dialect import DELIMITED, open_text
from components.data.sources import InstructionSourceConfig

ROLES = {"human": "user", "gpt": "assistant", "developer": "system"}
"""What roles are called elsewhere: in ShareGPT's files, and of late in OpenAI's."""
ANSWERS = ("completion", "response")
PEEKED, LOOKED_AT = 1 << 22, 100
"""Characters of a text file, or rows of a Parquet file, that are looked at to tell its layout."""


class Turns(NamedTuple):
    """A row: the text cells that it may have, and its cells of turns."""

    instruction: str | None = None
    input: str | None = None
    output: Any = None
    system: str | None = None
    messages: Any = None
    history: Any = None


USUAL = {name: name for name in ("instruction", "input", "output")}
"""The columns of a source that names none."""
Source = TypeVar("Source", bound=InstructionSourceConfig)


def recognised(path: Path, source: Source, usual: Mapping[str, str] = USUAL) -> Source:
    """Return the source with the columns of the layout that a file has, where its own are only the `usual` ones.

    Raises:
        DataRejected: if the file has two layouts.
    """
    if source.format in DELIMITED or source.columns != usual:
        return source
    records = _first_records(path, source)
    names: dict[str, Any] = {}
    for record in records:
        names |= {name: value for name, value in record.items() if value is not None or name not in names}
    found = dict(_layouts(names))
    if not found:
        return source
    if len(found) > 1:
        raise DataRejected(
            f"{path.name} has entries in {len(found)} layouts ({'; '.join(found)}); name the columns of one in "
            "source.columns, such as {messages: messages}, or {instruction: instruction, output: output}"
        )
    (columns,) = found.values()
    columns |= {"system": "system"} if "system" in names else {}
    return source.model_copy(update={"columns": {field: columns[field] for field in columns if field in source.fields}})


def _layouts(names: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each layout whose columns are among these, with what it maps; `names` hold a value each."""
    for name in ("messages", "conversations"):
        if name in names:
            yield name, {"messages": name}
    answer = next((name for name in ANSWERS if name in names), None)
    if "prompt" in names and answer:
        first = "messages" if isinstance(names["prompt"], list) else "instruction"
        yield f"prompt and {answer}", {first: "prompt", "output": answer}
    if "instruction" in names and "output" in names:
        # What is no list of turns may go by that name too.
        optional = {"history": "history"} if isinstance(names.get("history"), list) else {}
        yield "instruction and output", USUAL | optional


def _first_records(path: Path, source: InstructionSourceConfig) -> list[dict[str, Any]]:
    """Return the records at the beginning of a file, none of one that cannot be read: its reader will say why."""
    with suppress(OSError, UnicodeError, RecursionError, pa.ArrowException):
        if source.format == "parquet":
            with pq.ParquetFile(path, pre_buffer=False) as file:
                empty: dict[str, Any] = {
                    field.name: [] if _holds_lists(field.type) else None for field in file.schema_arrow
                }
                return [empty, *next(file.iter_batches(LOOKED_AT), pa.table({})).to_pylist()]
        with open_text(path, source.encoding) as text:
            return list(_objects(text.read(PEEKED)))
    return []


def _holds_lists(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects that a text begins with, up to one that is cut off or broken."""
    decoder, place = json.JSONDecoder(), text.find("{")
    with suppress(ValueError):
        while place >= 0:
            record, end = decoder.raw_decode(text, place)
            yield record
            place = text.find("{", end)


def as_entries(
    path: Path, source: InstructionSourceConfig, cells: Mapping[str, Sequence[Any]], done: int
) -> dict[str, list[str | None]]:
    """Return the columns `instruction`, `input`, `output` and `history` of conversations.

    Args:
        path: their file.
        source: how it is read.
        cells: what stands in it, by field (`Turns`).
        done: how many records came before.

    Raises:
        TableError: at a cell that holds neither turns nor text.
    """
    count = len(next(iter(cells.values())))
    empty = [None] * count
    rows = map(Turns, *(cells.get(field, empty) for field in Turns._fields))
    columns: dict[str, list[str | None]] = {name: [] for name in ("instruction", "input", "output", "history")}
    for record, row in enumerate(rows, done + 1):
        try:
            found = _entry(row, "messages" in source.columns, source.answered)
        except ValueError as error:
            raise TableError(
                f"{path.name}: record {record} holds {error} where source.columns names the turns of a conversation: a "
                'turn is {"role": ..., "content": ...} or {"from": ..., "value": ...}, one of a history [text, answer]'
            ) from error
        for name, cell in zip(columns, found, strict=True):
            columns[name].append(cell)
    return columns


def _entry(row: Turns, whole: bool, answered: bool) -> tuple[str | None, str, str | None, str | None]:
    """Return the instruction, input, output and history of a row, whose turns are `whole`, or those before it."""
    before = _turns(row.history, "user")
    if whole:
        # Where turns stand as a list, an answer that stands as a text is that text, whatever it looks like.
        is_text = isinstance(row.messages, list) and isinstance(row.output, str) and row.output
        answer = [{"role": "assistant", "content": row.output}] if is_text else _turns(row.output, "assistant")
        turns = _with_system(row.system, [*before, *_turns(row.messages, "user"), *answer])
    else:
        before = _with_system(row.system, before)
        asked = None if row.instruction is None else as_message(row.instruction, row.input or "")
        turns = [*before, {"role": "user", "content": asked}, {"role": "assistant", "content": row.output}]
    if not turns:
        return None, "", None, None
    given = turns
    if answered:
        turns = _up_to_learnt(turns)
    else:  # What is asked ends with the user's turn: an answer that stands there is not shown.
        asked_last = turns[:-1] if turns[-1]["role"] == "assistant" else turns
        turns = [*asked_last, {"role": "assistant", "content": "-"}]
    if find_fault(turns):
        return None, "", None, write_history(given)
    if whole:
        return turns[-2]["content"], "", turns[-1]["content"], write_history(turns[:-2])
    return row.instruction, row.input or "", row.output, write_history(before)


def _with_system(system: Any, turns: list[Message]) -> list[Message]:
    """Return turns behind a system message, unless there is none, or they bring one."""
    own = bool(turns) and turns[0]["role"] == "system"
    return turns if own or not system else [{"role": "system", "content": system}, *turns]


def _up_to_learnt(turns: list[Message]) -> list[Message]:
    """Return turns without those after the last answer that is learnt, if there is one."""
    learnt = [place for place, turn in enumerate(turns, 1) if turn["role"] == "assistant" and is_learnt(turn)]
    return turns[: learnt[-1]] if learnt and turns[-1]["role"] == "assistant" else turns


def _turns(cell: Any, role: str) -> list[Message]:
    """Return the turns in a cell, which may stand there as JSON; a plain text is one of this role.

    Raises:
        ValueError: if it holds something else.
    """
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        with suppress(ValueError):
            written = load_json(cell)
            # An answer may be a list for its own sake.
            cell = written if role == "user" or _are_turns(written) else cell
    if cell is None or cell == "":
        return []
    if isinstance(cell, str):
        return [{"role": role, "content": cell}]
    if not isinstance(cell, list):
        raise ValueError(f"a {type(cell).__name__}")
    return [turn for each in cell for turn in _turn(each)]


def _are_turns(cell: Any) -> bool:
    return bool(cell) and all(isinstance(each, dict) and not each.keys().isdisjoint(KEYS[0]) for each in cell)


def _turn(turn: Any) -> list[Message]:
    if isinstance(turn, dict):
        named, said = (next((turn[key] for key in keys if turn.get(key) is not None), None) for keys in KEYS)
        if any(turn.get(key) for key in CALLS):
            said = None  # the text alone would teach to say that something will be done, and not to do it
        role, weight = ROLES.get(str(named), str(named)), turn.get("weight")
        weighed = {"weight": weight} if role == "assistant" and weight not in (None, 1) else {}
        return [{"role": role, "content": _text(said), **weighed}]
    if isinstance(turn, list | tuple) and len(turn) == 2:
        return [{"role": role, "content": _text(said)} for role, said in zip(("user", "assistant"), turn, strict=True)]
    raise ValueError(f"a list with {turn!r:.60}")


KEYS = (("role", "from"), ("content", "value"))
"""What a turn's role and its text are called, in OpenAI's form and ShareGPT's."""
CALLS = ("tool_calls", "function_call")
"""Where a turn says which tools it calls."""


def _text(said: Any) -> str | None:
    """Return what a turn says, also if it stands there in parts; None if it is no text."""
    if isinstance(said, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in said):
        texts = [part.get("text") or "" for part in said]
        said = "".join(texts) if all(isinstance(text, str) for text in texts) else None
    return said if isinstance(said, str) else None


def advice_of(cell: object, key: Key) -> str | None:
    """Return what to do with a column of turns that is mapped as a text, None if it is none."""
    turns = isinstance(cell, list) and cell and isinstance(cell[0], dict)
    return f"if these are conversations, set source.columns='{{messages: {key}}}'" if turns else None
