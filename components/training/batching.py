"""Rows of tokens to padded batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from components.model import classifier


@dataclass(frozen=True)
class Examples:
    """Tokenised, labelled rows: `tokens[i]` are the token ids of row i, `labels[i]` its class id."""

    tokens: list[list[int]]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Batch:
    """A padded batch: tokens (B, T), true lengths (B), class ids (B)."""

    tokens: Tensor
    lengths: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on `device`."""
        return Batch(self.tokens.to(device), self.lengths.to(device), self.labels.to(device))


def pad(examples: Examples, rows: list[int], pad_id: int, length: int | None) -> Batch:
    """Return `rows` of `examples`, right-padded with `pad_id` to `length`, or to the longest of them."""
    tokens, lengths = classifier.pad([examples.tokens[row] for row in rows], pad_id, length)
    return Batch(tokens, lengths, torch.tensor([examples.labels[row] for row in rows]))


def in_order(examples: Examples, batch_size: int) -> list[list[int]]:
    """Return the row numbers of every batch in file order; the last batch may be smaller."""
    rows = list(range(len(examples)))
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def shuffled(examples: Examples, batch_size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Yield the row numbers of one epoch's batches in random order, all of one size.

    Rows that do not fill a batch are left out of this epoch (the shuffle picks others the next time),
    unless there are fewer rows than one batch holds.
    """
    order = torch.randperm(len(examples), generator=generator).tolist()
    for start in range(0, steps_per_epoch(len(examples), batch_size) * batch_size, batch_size):
        yield order[start : start + batch_size]


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Return how many full batches an epoch has, at least one."""
    return max(rows // batch_size, 1)
