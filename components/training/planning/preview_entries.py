"""How a recipe sees its entries: as tokens that are learnt or masked, cut, and put together to batches.

Shapes: N entries.
"""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import get_args

import numpy as np
import tiktoken
import torch
from numpy.typing import NDArray

from components.models.language_model import LanguageModel
from components.models.tokenizer import end_of_text
from components.training.batching import in_batches
from components.training.config import InstructionTrainConfig
from components.training.objectives.instruction import IGNORED, Entries, Instruction
from components.training.planning.preview import Lengths, describe_lengths

BATCHINGS = get_args(InstructionTrainConfig.model_fields["batching"].annotation)
STEPS = 100
"""Steps whose batches are looked at to compare ways of making batches."""


@dataclass(frozen=True)
class EntrySample:
    """An entry as the network gets it: its tokens, with the one that ends it."""

    split: str
    row: int
    """Where it stands in its split, from 0."""
    pieces: list[str]
    """What each token adds to the text; of a character that takes several tokens, all at the last."""
    ids: list[int]
    learnt: list[bool]
    """Of each token, whether the network learns to foretell it."""
    lost: int
    """Tokens that are cut off at the end."""


@dataclass(frozen=True)
class Cuts:
    """What cutting the entries of a split at `limit` tokens takes away, and what does not fit the context."""

    split: str
    entries: int
    limit: int
    cut_entries: int
    cut_tokens: int
    without_response: int
    """Entries of whose response nothing is left."""
    no_room: int
    """Entries whose prompt leaves less room in the context than generation may ask for."""


@dataclass(frozen=True)
class BatchingPreview:
    """What one way of making batches would make of the training split, looked at over some steps."""

    batching: str
    entries: int
    """Entries of a batch."""
    rows: float
    """Rows of a batch, on average: packed, one holds several entries."""
    width: float
    """Tokens of a row, on average."""
    padding: float
    """Share of the tokens that are padding."""


def draw_entries(
    split: str, entries: Entries, rows: Sequence[int], encoding: tiktoken.Encoding, mask_prompt: bool
) -> list[EntrySample]:
    """Return `rows` of the entries of a split as the network gets them."""
    return [_sample(split, row, entries, encoding, mask_prompt) for row in rows]


def _sample(split: str, row: int, entries: Entries, encoding: tiktoken.Encoding, mask_prompt: bool) -> EntrySample:
    end = end_of_text(encoding)
    # The first token is read, and nothing foretells it.
    ids = [*entries.tokens(row)[:1], *entries.targets(row, end, mask_prompt=False)]
    learnt = [False, *(target != IGNORED for target in entries.targets(row, end, mask_prompt))]
    lost = int(whole_lengths(entries)[row]) + 1 - len(ids)
    return EntrySample(split, row, list(_pieces(encoding, ids)), ids, learnt, lost)


def _pieces(encoding: tiktoken.Encoding, ids: Sequence[int]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for place, token in enumerate(ids):
        yield decoder.decode(encoding.decode_single_token_bytes(token), final=place == len(ids) - 1)


def whole_lengths(entries: Entries) -> NDArray[np.int64]:
    """Return the tokens of every entry (N) before it is cut, without the one that ends it."""
    return replace(entries, limit=None).lengths


def describe_entries(split: str, entries: Entries, limit: int) -> dict[str, Lengths]:
    """Return how long the entries of a split are, before they are cut, and their prompts and responses."""
    whole = whole_lengths(entries)
    parts = {"entry": whole, "prompt": entries.prompts, "response": whole - entries.prompts}
    return {name: describe_lengths(split, lengths, limit) for name, lengths in parts.items()}


def describe_cuts(split: str, entries: Entries, limit: int, context: int, new_tokens: int) -> Cuts:
    """Return what cutting a split's entries at `limit` tokens takes away.

    A prompt leaves no room if `new_tokens` more do not fit the `context`.
    """
    over = np.maximum(whole_lengths(entries) - limit, 0)
    cut = entries.cut(limit)
    return Cuts(
        split=split,
        entries=len(entries),
        limit=limit,
        cut_entries=int((over > 0).sum()),
        cut_tokens=int(over.sum()),
        without_response=int((cut.trained(mask_prompt=True) == 0).sum()),
        no_room=int((entries.prompts + new_tokens > context).sum()),
    )


def compare_batchings(
    outline: LanguageModel, entries: Entries, config: InstructionTrainConfig, end: int
) -> list[BatchingPreview]:
    """Return what every way of making batches makes of the entries; `outline` is the network without content."""
    return [_batching(outline, entries, config.model_copy(update={"batching": name}), end) for name in BATCHINGS]


def _batching(outline: LanguageModel, entries: Entries, config: InstructionTrainConfig, end: int) -> BatchingPreview:
    cpu = torch.device("cpu")
    objective = Instruction(outline, entries, entries, config, cpu, "fp32", end)
    order = torch.Generator().manual_seed(config.seed)
    batches = [rows for step in islice(objective.epoch(order), STEPS) for rows in in_batches(step, config.batch_size)]
    shapes = [objective.batch("train", rows).tokens.shape for rows in batches]
    tokens = sum(rows * width for rows, width in shapes)
    real = sum(objective.tokens(rows) for rows in batches)
    return BatchingPreview(
        batching=config.batching,
        entries=config.batch_size,
        rows=float(np.mean([rows for rows, _ in shapes])),
        width=float(np.mean([width for _, width in shapes])),
        padding=1 - real / tokens,
    )
