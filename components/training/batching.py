"""Rows of tokens to padded batches."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Generic, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.models import padding

CHUNK = 8192
"""Rows of a split that are read and encoded at once."""


@dataclass(frozen=True)
class TokenRows:
    """N rows of tokens, end to end in flat arrays: four bytes a token, however many rows there are.

    `ids` are all token ids, `offsets` (N + 1) says where each row starts. Rows count as cut to `limit` tokens, of which
    the last `closing` of a row stay the last.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    limit: int | None = field(default=None, kw_only=True)
    closing: int = field(default=0, kw_only=True)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def whole_lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of every row (N) before it is cut."""
        lengths: NDArray[np.int64] = np.diff(self.offsets)
        return lengths

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Return the number of tokens of every row (N)."""
        return self.whole_lengths if self.limit is None else np.minimum(self.whole_lengths, self.limit)

    def tokens(self, row: int) -> list[int]:
        """Return the token ids of a row."""
        tokens: list[int] = self.ids[self.offsets[row] : self.offsets[row + 1]].tolist()
        return padding.cut(tokens, self.limit, self.closing)

    def cut(self, limit: int | None) -> Self:
        """Return the same rows, cut to `limit` tokens."""
        return self if limit is None else replace(self, limit=min(limit, self.limit or limit))


Rows = TypeVar("Rows", bound=TokenRows)


@dataclass(frozen=True)
class CutSplits(Generic[Rows]):
    """Both splits as the network gets them: rows of at most `limit` tokens."""

    train: Rows
    validation: Rows
    limit: int
    longest: int
    """Tokens of the longest training row, before it is cut."""

    @property
    def truncated(self) -> dict[str, int]:
        """Return how many rows of each split lose tokens, or their end."""
        splits = {"train": self.train, "validation": self.validation}
        return {name: int((rows.whole_lengths > self.limit).sum()) for name, rows in splits.items()}


def end_to_end(rows: Iterable[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return `ids` and `offsets` of rows of tokens, one after the other."""
    ids, offsets = array("i"), array("q", [0])
    for row in rows:
        ids.extend(row)
        offsets.append(len(ids))
    return np.array(ids, dtype=np.int32), np.array(offsets, dtype=np.int64)


def read_chunks(table: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Read columns of a split, some thousand rows at a time."""
    return pq.ParquetFile(table).iter_batches(CHUNK, columns=columns)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Examples(TokenRows):
    """N tokenised texts and their `labels` (N), which are class ids."""

    labels: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Iterable[list[int]], labels: list[int], closing: int = 0) -> Self:
        """Return the examples whose tokens are `rows`."""
        return cls(*end_to_end(rows), np.asarray(labels, dtype=np.int64), closing=closing)


class Movable:
    """A dataclass of tensors and the like, some of which may be None, and of numbers."""

    def to(self, device: torch.device) -> Self:
        """Return the same on `device`."""
        return replace(self, **{name: each.to(device) for name, each in vars(self).items() if hasattr(each, "to")})  # type: ignore[type-var]


@dataclass(frozen=True)
class Batch(Movable):
    """A padded batch: tokens (B, T), true lengths (B), class ids (B), and which `places` to compute, if not all."""

    tokens: Tensor
    lengths: Tensor
    labels: Tensor
    places: Tensor | None = None


def pad(examples: Examples, rows: list[int], pad_id: int, length: int | None) -> Batch:
    """Return `rows` of `examples`, right-padded with `pad_id` to `length`, or to the longest of them."""
    tokens, lengths = padding.pad([examples.tokens(row) for row in rows], pad_id, length)
    return Batch(tokens, lengths, torch.from_numpy(examples.labels[rows]))


def in_batches(rows: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Cut row numbers into batches; the last may be smaller."""
    for start in range(0, len(rows), batch_size):
        yield list(rows[start : start + batch_size])


def shuffled(rows: int, step_size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Yield the row numbers of one epoch's steps in random order, `step_size` of them each.

    Rows that do not fill a step are left out of this epoch (the shuffle picks others the next time),
    unless there are fewer rows than one step takes.
    """
    order = torch.randperm(rows, generator=generator).tolist()
    for start in range(0, steps_per_epoch(rows, step_size) * step_size, step_size):
        yield order[start : start + step_size]


def grouped_by_length(
    lengths: NDArray[np.int64], step_size: int, generator: torch.Generator, steps: int = 8
) -> Iterator[list[int]]:
    """Yield the row numbers of one epoch's steps in random order, where rows of like length go together.

    Of every `steps` steps the shuffled rows are sorted by length (N) and cut, and the pieces shuffled: little padding
    is left, and what goes together is another choice every epoch.
    """
    order = torch.cat([torch.tensor(rows) for rows in shuffled(len(lengths), step_size, generator)])
    for pool in torch.split(order, step_size * steps):
        ordered = torch.split(pool[torch.from_numpy(lengths)[pool].argsort(stable=True)], step_size)
        for place in torch.randperm(len(ordered), generator=generator).tolist():
            yield ordered[place].tolist()


def steps_per_epoch(rows: int, step_size: int) -> int:
    """Return how many full steps of `step_size` rows an epoch has, at least one."""
    return max(rows // step_size, 1)
