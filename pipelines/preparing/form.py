"""The contract of a form: what a row of prepared data is, and what is made of it.

A kind has the forms that its `prepare.py` lists in `FORMS`, by the names that `gradus data prepare --as` takes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq

from components.conversations import Message
from components.core.config import Config
from components.core.records import Facts
from components.data.batches import batches_of, hashed, schema, write_batches
from components.data.hosted.config import HostedConfig
from components.data.hosted.ends import FoundEnds, Pair, find_ends
from components.data.sources import FileSource, InstructionSourceConfig
from components.data.split.config import GroupConfig
from components.data.split.copies import Copies, find_repeated
from components.data.split.row_index import RowIndex
from components.data.turns import ANSWERS, USUAL
from pipelines.kinds import KINDS, part_of

Row = dict[str, Any]
BATCH = 1 << 12
"""Rows that are in memory as Python's own values."""


class FormConfig(Config):
    """How a file is read, dealt and written; what a form's own config is made of."""

    source: FileSource
    """Where the data is and how it is read."""

    split: GroupConfig
    """How rows are dealt to train, validation and test."""

    hosted: HostedConfig = HostedConfig()
    """How examples are written for a hosted service."""


class Form(ABC):
    """Examples of one form."""

    config_class: ClassVar[type[FormConfig]]
    columns: ClassVar[tuple[str, ...]]
    """The columns of its table besides `row`, as far as they are there."""
    answer: ClassVar[str]
    """The column of the answer: a label, a response."""
    same_answer: ClassVar[bool]
    """Whether only rows with the same answer are copies of one another."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def choose_source(cls, path: Path | None, source: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG003
        """Return the section `source` with what a look into a local file says of its columns, if it names none."""
        return source

    def rewritten(self, facts: Facts) -> Callable[[Row], Row] | None:  # noqa: ARG002
        """Return what makes a row of this form of one that `download` read, whose facts these are; None for nothing."""
        return None

    @classmethod
    def config_for(cls, source: dict[str, Any]) -> type[FormConfig]:  # noqa: ARG003
        """Return the class of a config with this section `source`."""
        return cls.config_class

    @abstractmethod
    def look(self, table: Path) -> None:
        """Look at the rows of a table for what the form has to know of all of them.

        Raises:
            ConfigError: if they cannot be prepared.
        """

    @abstractmethod
    def clean(self, table: Path, out: Path) -> Facts:
        """Write the rows of a table that can be used to `out/table.parquet`, the others to `rejected.parquet`.

        Raises:
            DataRejected: if none is left.
        """

    @abstractmethod
    def index(self, table: Path) -> RowIndex:
        """Return the index of a table's rows, with near duplicates if they are looked for."""

    @abstractmethod
    def split(self, table: Path, out: Path) -> Facts:
        """Write `train.parquet`, `validation.parquet` and `test.parquet` to `out`, each shuffled.

        Raises:
            ConfigError: if one would be empty.
        """

    @abstractmethod
    def as_row(self, row: Row) -> Row:
        """Return what stands in the files that `gradus run` reads."""

    @abstractmethod
    def messages(self, row: Row) -> list[Message]:
        """Return a row as a chat."""

    @abstractmethod
    def pair(self, row: Row) -> Pair:
        """Return a row as prompt and completion, without what stands around them."""

    @abstractmethod
    def preset(self, name: str, source: dict[str, Any], rows: Iterator[Row]) -> dict[str, Any]:
        """Return a preset for these rows: a small network that starts from random weights, unless they need another."""

    def repeated(self, table: Path) -> Copies:
        """Return which rows of a table repeat others."""
        with pq.ParquetFile(table, pre_buffer=False) as file:
            batches = batches_of(file, [self.answer], BATCH)
            answers = [hashed(batch[self.answer].to_numpy(zero_copy_only=False)) for batch in batches]
        own = np.concatenate([np.empty(0, np.uint64), *answers])
        return find_repeated(self.index(table), own, self.same_answer, self.config.split)


def forms() -> dict[str, type[Form]]:
    """Return the forms there are, by name."""
    there = [kind for kind, package in KINDS.items() if find_spec(f"{package}.prepare")]
    return {name: form for kind in there for name, form in part_of(kind, "prepare").FORMS.items()}


def rows_of(table: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet table, some of which are in memory."""
    with pq.ParquetFile(table, pre_buffer=False) as file:
        for batch in batches_of(file, most=BATCH):
            yield from batch.to_pylist()


def rewrite(table: Path, change: Callable[[Row], Row], columns: Sequence[str], out: Path) -> None:
    """Write a table with every row changed; it has those of `columns` that rows have."""
    import pyarrow as pa

    def batches() -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(table, pre_buffer=False) as file:
            for batch in batches_of(file, most=BATCH):
                changed = [change(row) for row in batch.to_pylist()]
                yield pa.RecordBatch.from_pylist(changed, kept)

    first = next(rows_of(table), None)
    there = change(first) if first else {}
    kept = schema(name for name in columns if name in there)
    write_batches(batches(), kept, out)


def ends_of(table: Path, facts: Facts) -> FoundEnds | None:
    """Return what stands around prompts and completions, if the file that was read has these."""
    columns: Mapping[str, Any] = facts["reading"]["columns"]
    if not is_pair(columns):
        return None
    question, answer = ("text", "label") if "text" in columns else ("instruction", "output")
    return find_ends((row[question] or "", row[answer] or "") for row in rows_of(table))


def is_pair(columns: Mapping[Any, Any]) -> bool:
    """Say whether a source's columns are a prompt and its completion, as texts."""
    return "prompt" in columns.values() and not {*columns.values()}.isdisjoint(ANSWERS)


def has_layout(source: InstructionSourceConfig) -> bool:
    """Say whether a file has been recognised as one of chats, or of prompts and completions."""
    return source.columns != USUAL and ("messages" in source.columns or is_pair(source.columns))
