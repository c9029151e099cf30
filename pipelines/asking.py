"""Ask a model about the rows of a file, and write them with its answers: some thousand rows are in memory at a time."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from components.core.errors import ConfigError, DataRejected, TableError
from components.data.answered import Write, check_output, open_output, sweep_drafts
from components.data.asked import (
    Kind,
    Rows,
    columns_of,
    find_source,
    is_plain,
    missing_columns,
    read_lines,
    read_plain,
    read_rows,
)
from components.data.formats.dialect import READING
from components.data.formats.readers import columns_there
from components.data.formats.reading import Seen, no_column
from components.data.partial import Answers, Partial, resumable
from pipelines.config import apply_override, explain

if TYPE_CHECKING:
    import pyarrow as pa

    from components.data.sources import FileSource

Answer = Callable[[Mapping[str, list[str]], int], Answers]
"""From rows that have a text, by field, and the number of the first of them among all such, to their answers."""
AT_ONCE = 1024
"""Rows that are asked at once, unless somebody says otherwise."""
REFUSALS = (ValidationError, TableError, DataRejected, ConfigError)
"""What is wrong with a file itself: nothing is left of a call that ends by it."""
STDIN = Path("-")
SET = "--set"


class Asked:
    """What a model is asked: a file, standard input, or rows that were typed."""

    def __init__(
        self,
        kind: Kind,
        file: Path | None,
        typed: Mapping[str, list[str]],
        overrides: Sequence[str],
        output: Path | None,
    ) -> None:
        """Take what the user gave.

        Args:
            kind: what is read of a file.
            file: the file; `-` is standard input, a text a line.
            typed: rows that were typed, by field, if there is no file.
            overrides: `source.KEY=VALUE`, how the file is read.
            output: where rows and answers are written, if they are.

        Raises:
            ConfigError: if a file cannot be read or written, as far as that shows before the model is there, or there
                is none whose reading could be set.
        """
        self.kind, self.file, self.typed, self.output = kind, file, typed, output
        self.partial: Partial | None = None
        """What an earlier call has answered, once rows are read."""
        self.given = _given(overrides, kind)
        if self.given and file in (None, STDIN):
            raise ConfigError(f"{SET} source.{next(iter(self.given))} says how a file is read: name one with --file")
        self.seen = Seen()
        if file and file != STDIN:
            _check_readable(file)
            if not file.is_file() and not is_plain(kind, file, self.given):
                self._scratch, self.file = _kept(file)
        if output:
            check_output(output, file if file and file != STDIN else None)

    def answers(
        self,
        learnt: Mapping[str, Any] | None,
        answer: Answer,
        kinds: "Mapping[str, pa.DataType]",
        identity: str | None = None,
        at_once: int = AT_ONCE,
        most: int | None = None,
    ) -> Iterator[tuple[Rows, Answers]]:
        """Yield rows with their answers, and write them.

        A row without a text (its instruction, of several fields the first) is not asked, and has no answer.

        Args:
            learnt: how the file was read that the model learnt from.
            answer: answers rows that have a text.
            kinds: the columns of its answers.
            identity: what answers depend on besides what is asked; with it, a call with an output that did not come to
                its end goes on where it was.
            at_once: rows that are asked at once, so many of whose answers may be lost.
            most: rows that are asked at most, the first ones; by default all.

        Raises:
            ConfigError: if the file cannot be read, lacks a column, or the output cannot be written.
        """
        with _one_line(self.kind):
            rows, there = self._rows(learnt)
            with self._resuming(identity) as self.partial, self._writing(there, kinds) as write:
                asking = _Asking(answer, at_once, self.partial)
                for each in rows if most is None else _first(rows, most):
                    found = _answered(each, asking, kinds)
                    if write:
                        write({**each.columns, **_renamed(found, each.columns)})
                    yield each, found

    def _rows(self, learnt: Mapping[str, Any] | None) -> "tuple[Iterable[Rows], pa.Schema]":
        """Return the rows, and the columns that they have in the output."""
        field = self.kind.fields[0]
        if self.file is None:
            texts: dict[str, list[str | None]] = {name: list(cells) for name, cells in self.typed.items()}
            return [Rows(texts, dict(texts))], _strings(texts)
        if self.file == STDIN:
            return read_lines(sys.stdin.buffer, "standard input", field), _strings([field])
        source = find_source(self.kind, self.file, learnt, self.given)
        if source is None:
            return read_plain(self.kind, self.file, self.given, self.seen), _strings([field])
        if source.format in ("json", "jsonl"):
            with self.file.open("rb") as raw:
                if not raw.read(1 << 12).removeprefix(b"\xef\xbb\xbf").strip():  # there is nothing in it
                    return [], _strings([field])
        there = columns_there(self.file, source)
        if there and (missing := missing_columns(source, there)):
            raise no_column(self.file, source, missing[0], there)
        rows = read_rows(self.file, source, there, self.output is not None, self.seen)
        if self.output is None:
            return rows, _strings([])
        return rows, columns_of(self.file, source, there, typed=self.output.suffix.lower() == ".parquet")

    def _resuming(self, identity: str | None) -> AbstractContextManager[Partial | None]:
        if self.output is None or identity is None or self.file is None:
            return nullcontext()
        return resumable(self.output, identity, REFUSALS)

    def _writing(self, there: "pa.Schema", kinds: "Mapping[str, pa.DataType]") -> AbstractContextManager[Write | None]:
        import pyarrow as pa

        if self.output is None:
            return nullcontext()
        if self.partial:
            sweep_drafts(self.output)  # of calls that were killed: no other one writes it now
        return open_output(self.output, pa.schema([*there, *_renamed(kinds, there.names).items()]))


class _Asking:
    """Asks a model about the rows of a file, and takes the answers that an earlier call had."""

    def __init__(self, answer: Answer, at_once: int, partial: Partial | None) -> None:
        self._answer, self._at_once, self._partial = answer, at_once, partial
        self._done = 0

    def __call__(self, asked: Mapping[str, list[str]], names: Iterable[str]) -> Answers:
        """Return the answers to rows, in columns of these names."""
        found: Answers = {name: [] for name in names}
        rows = len(next(iter(asked.values())))
        for start in range(0, rows, self._at_once):
            some = {field: cells[start : start + self._at_once] for field, cells in asked.items()}
            answers = self._partial.answered(some, self._ask) if self._partial else self._ask(some)
            self._done += len(next(iter(some.values())))
            for name, cells in answers.items():
                found[name] += cells
        return found

    def _ask(self, some: Mapping[str, list[str]]) -> Answers:
        return self._answer(some, self._done)


def _strings(names: Iterable[str]) -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([(name, pa.string()) for name in names])


def _given(overrides: Sequence[str], kind: Kind) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for override in overrides:
        apply_override(tree, override)
    given = tree.get("source", {})
    source: dict[str, Any] = given if isinstance(given, dict) else {}
    wrong = [key for key in tree if key != "source" or given is not source]
    wrong += [f"source.{key}" for key in source if key not in READING]
    if wrong:
        raise ConfigError(f"{SET} {wrong[0]}: of a file, source.{', source.'.join(READING)} can be set")
    if not isinstance(source.get("columns", {}), dict):
        example = f"{SET} source.columns.{kind.fields[0]}=NAME"
        raise ConfigError(f"{SET} source.columns: it names the column of each field, as in {example}")
    return source


def _check_readable(file: Path) -> None:
    try:
        if file.is_dir():
            raise ConfigError(f"cannot read {file}: it is a folder")
        file.stat()  # no more of a pipe, which is read once, later
        if file.is_file():
            file.open("rb").close()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error


def _kept(pipe: Path) -> "tuple[tempfile.TemporaryDirectory[str], Path]":
    """Write what a pipe gives, which can be read once only, into a file."""
    folder = tempfile.TemporaryDirectory(prefix="gradus-")
    copy = Path(folder.name) / pipe.name
    with pipe.open("rb") as given, copy.open("wb") as file:
        shutil.copyfileobj(given, file)
    return folder, copy


def _first(rows: Iterable[Rows], most: int) -> Iterator[Rows]:
    for each in rows:
        yield each.head(most)
        most -= len(each)
        if most <= 0:
            return


def _answered(rows: Rows, asking: _Asking, kinds: Iterable[str]) -> Answers:
    texts = next(iter(rows.texts.values()))
    asked = [place for place, text in enumerate(texts) if text and not text.isspace()]
    found = asking({field: [cells[place] or "" for place in asked] for field, cells in rows.texts.items()}, kinds)
    if len(asked) == len(texts):
        return found
    answers: Answers = {name: [None] * len(texts) for name in kinds}
    for name, cells in found.items():
        for place, cell in zip(asked, cells, strict=True):
            answers[name][place] = cell
    return answers


def _renamed(answers: Mapping[str, Any], there: Iterable[str]) -> dict[str, Any]:
    """Return answers under names that the file's columns do not have."""
    taken = set(there)
    names = {name: f"predicted_{name}" if name in taken else name for name in answers}
    if twice := taken & set(names.values()):
        raise ConfigError(f"the file has a column {min(twice)!r} already, as answers would; rename or remove it")
    return {names[name]: cells for name, cells in answers.items()}


@contextmanager
def _one_line(kind: "type[FileSource]") -> Iterator[None]:
    """Turn what is wrong with a file into a line that says what to do about it on the command line."""
    try:
        yield
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, f"{SET} source", kind))) from error
    except (TableError, DataRejected) as error:
        hint = f" (here by {SET} source.KEY=VALUE)" if "source." in str(error) else ""
        raise ConfigError(f"{error}{hint}") from error
    except OSError as error:
        raise ConfigError(f"cannot read the file: {error.strerror or error}") from error
