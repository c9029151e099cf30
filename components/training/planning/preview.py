"""How a recipe sees its texts: as tokens, cut, padded, and read at one position or all of them."""

from dataclasses import dataclass

import numpy as np
import tiktoken
from numpy.typing import NDArray

from components.models.config import Pooling
from components.training.batching import Examples

PERCENTILES = (50, 90, 95, 99, 100)
BINS = 12
"""Most bars of a histogram."""


@dataclass(frozen=True)
class Sample:
    """A text as the network gets it."""

    split: str
    label: str
    pieces: list[str]
    """What each token stands for; bytes that are no whole character show as U+FFFD."""
    ids: list[int]
    lost: int
    """Tokens that are cut off."""
    padded_to: int | None
    """Tokens of its row, or None: as many as the longest of its batch."""
    read: str
    """What feeds the classifier."""


@dataclass(frozen=True)
class Bar:
    """How many texts have from `first` to `last` tokens."""

    first: int
    last: int
    texts: int


@dataclass(frozen=True)
class Lengths:
    """How long the texts of a split are in tokens, and what cutting them at `limit` takes away."""

    split: str
    texts: int
    tokens: int
    percentiles: dict[str, int]
    """By percentile: at most so many tokens."""
    bars: list[Bar]
    limit: int
    cut_texts: int
    cut_tokens: int


def describe_lengths(split: str, lengths: NDArray[np.int64], limit: int) -> Lengths:
    """Return what the lengths (N) of a split's texts in tokens say; N > 0."""
    over = np.maximum(lengths - limit, 0)
    # `higher`, so that every percentile is the length of some text.
    points = np.percentile(lengths, PERCENTILES, method="higher").astype(int).tolist()
    return Lengths(
        split=split,
        texts=len(lengths),
        tokens=int(lengths.sum()),
        percentiles={f"p{at}" if at < 100 else "longest": point for at, point in zip(PERCENTILES, points, strict=True)},
        bars=_bars(lengths),
        limit=limit,
        cut_texts=int((over > 0).sum()),
        cut_tokens=int(over.sum()),
    )


def _bars(lengths: NDArray[np.int64]) -> list[Bar]:
    longest = int(lengths.max())
    width = max(-(-longest // BINS), 1)
    counts = np.bincount(np.maximum(lengths - 1, 0) // width)
    return [Bar(at * width + 1, (at + 1) * width, int(count)) for at, count in enumerate(counts)]


def draw_samples(
    split: str,
    examples: Examples,
    whole: NDArray[np.int64],
    labels: list[str],
    encoding: tiktoken.Encoding,
    pooling: Pooling,
    length: int | None,
    each: int = 2,
) -> list[Sample]:
    """Return the first `each` texts of every class; `whole` (N) are the lengths of the texts before they were cut."""
    rows = [row for label in range(len(labels)) for row in np.flatnonzero(examples.labels == label)[:each].tolist()]
    samples = []
    for row in rows:
        ids = examples.tokens(row)
        pieces = [_piece(encoding, token) for token in ids]
        samples.append(
            Sample(
                split=split,
                label=labels[int(examples.labels[row])],
                pieces=pieces,
                ids=ids,
                lost=int(whole[row]) - len(ids),
                padded_to=length,
                read=_read(pooling, pieces, length),
            )
        )
    return samples


def _piece(encoding: tiktoken.Encoding, token: int) -> str:
    return encoding.decode_single_token_bytes(token).decode("utf-8", "replace")


def _read(pooling: Pooling, pieces: list[str], length: int | None) -> str:
    """Say which position or positions feed the classifier."""
    padding = (length or len(pieces)) - len(pieces)
    match pooling:
        case "first_token":
            return f"position 1, {pieces[0]!r}" if pieces else "position 1"
        case "last_token":
            return f"position {len(pieces)}, {pieces[-1]!r}" if pieces else "position 1"
        case "mean":
            return f"the mean of positions 1 to {len(pieces)}"
        case "last_position":
            what = "padding" if padding else repr(pieces[-1]) if pieces else "padding"
            return f"position {length or len(pieces)}, {what}"
        case "mean_positions":
            return f"the mean of positions 1 to {length or len(pieces)}, {padding} of them padding"
