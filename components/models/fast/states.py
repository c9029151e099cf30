"""What enters the first block that trains, of all texts of a split, as a file that is memory-mapped and never loaded.

The file is safetensors: `states` (tokens, D), fp32 or bf16, all texts end to end without padding between them,
`offsets` (N + 1) int64, where each begins, and in the metadata how many blocks were computed.
Shapes: N texts, B batch, T tokens, D width.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from components.models.devices import dtype_of

NAMES = {torch.float32: "F32", torch.bfloat16: "BF16"}
"""What safetensors calls the types that states have."""
ALIGNED = 64
"""Bytes; a multiple of them is where the tensors begin."""
ROUNDED = 32
"""A batch has a multiple of so many tokens a text."""


@dataclass(frozen=True)
class States:
    """The states of N texts after `blocks` blocks: `values` (tokens, D), of which `offsets` (N + 1) cuts the texts."""

    values: Tensor
    offsets: NDArray[np.int64]
    blocks: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return how many states each text has (N), at least one."""
        lengths: NDArray[np.int64] = np.diff(self.offsets)
        return lengths

    def row(self, row: int) -> Tensor:
        """Return the states of a text, (T, D)."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def batch(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the states (B, T, D) of some texts, zeros behind them, and their lengths (B,).

        T is rounded up, for every new length of a product costs oneDNN a new kernel.
        """
        lengths = self.lengths[rows]
        longest = -(-int(lengths.max()) // ROUNDED) * ROUNDED
        batch = self.values.new_zeros(len(rows), longest, self.values.shape[1])
        for text, row, length in zip(batch, rows, lengths.tolist(), strict=True):
            text[:length] = self.row(row)
        return batch, torch.from_numpy(lengths)

    @classmethod
    def blank(cls, lengths: NDArray[np.int64], width: int, precision: str, blocks: int) -> "States":
        """Return states that are all 0 and take no memory, to rehearse with."""
        offsets = _offsets(lengths)
        return cls(torch.zeros((), dtype=dtype_of(precision)).expand(int(offsets[-1]), width), offsets, blocks)


def create_states(path: Path, lengths: NDArray[np.int64], width: int, precision: str, blocks: int) -> States:
    """Make a file for the states of texts of these lengths (N), and return them, still 0: what is put in is written."""
    offsets, dtype = _offsets(lengths), dtype_of(precision)
    tokens = int(offsets[-1])
    end = offsets.nbytes + tokens * width * dtype.itemsize
    tensors = {
        "__metadata__": {"blocks": str(blocks)},
        "offsets": {"dtype": "I64", "shape": [len(offsets)], "data_offsets": [0, offsets.nbytes]},
        "states": {"dtype": NAMES[dtype], "shape": [tokens, width], "data_offsets": [offsets.nbytes, end]},
    }
    header = json.dumps(tensors).encode()
    header += b" " * (-(8 + len(header)) % ALIGNED)
    start = 8 + len(header)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header + offsets.tobytes())
        file.truncate(start + end)
    mapped = torch.from_file(str(path), shared=True, size=start + end, dtype=torch.uint8)
    return States(mapped[start + offsets.nbytes :].view(dtype).view(tokens, width), offsets, blocks)


def open_states(path: Path) -> States:
    """Return the states in a file that `create_states` made."""
    with safe_open(path, framework="pt") as file:
        blocks = int(file.metadata()["blocks"])
        return States(file.get_tensor("states"), file.get_tensor("offsets").numpy(), blocks)


def by_length(lengths: NDArray[np.int64], most: int) -> Iterator[list[int]]:
    """Deal texts to batches, those of like length (N) together, of at most `most` tokens with padding, or one text."""
    batch: list[int] = []
    for row in np.argsort(lengths, kind="stable").tolist():
        if batch and (len(batch) + 1) * int(lengths[row]) > most:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
