"""How a recipe sees its rows: as tokens, cut, padded, learnt or masked, read at some position, and put into batches.

What is returned is JSON, as `gradus check --json` prints it. Shapes: N rows.
"""

import codecs
from collections.abc import Sequence
from itertools import islice
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from components.core.records import Facts
from components.models.config import Pooling
from components.models.language_model import LanguageModel
from components.models.tokenizer import Tokenizer
from components.training.batching import Examples, in_batches
from components.training.config import InstructionTrainConfig
from components.training.objectives.instruction import IGNORED, Entries, Instruction

PERCENTILES = (50, 90, 95, 99, 100)
BINS = 12
"""Most bars of a histogram."""
BATCHINGS = get_args(InstructionTrainConfig.model_fields["batching"].annotation)
STEPS = 100
"""Steps whose batches are looked at to compare ways of making batches."""


def describe_lengths(split: str, lengths: NDArray[np.int64], limit: int) -> Facts:
    """Return what the lengths (N) of a split's rows in tokens say, and what cutting them at `limit` takes away; N > 0.

    By its name each of the `percentiles` is a length that so many rows do not exceed. Of `bars` each counts the `texts`
    with from `first` to `last` tokens.
    """
    over, width = np.maximum(lengths - limit, 0), max(-(-int(lengths.max()) // BINS), 1)
    bars = enumerate(np.bincount(np.maximum(lengths - 1, 0) // width).tolist())
    # `higher`, so that every percentile is the length of some row.
    points = np.percentile(lengths, PERCENTILES, method="higher").astype(int).tolist()
    return {
        "split": split,
        "texts": len(lengths),
        "tokens": int(lengths.sum()),
        "percentiles": dict(zip((f"p{at}" if at < 100 else "longest" for at in PERCENTILES), points, strict=True)),
        "bars": [{"first": at * width + 1, "last": (at + 1) * width, "texts": count} for at, count in bars],
        "limit": limit,
        "cut_texts": int((over > 0).sum()),
        "cut_tokens": int(over.sum()),
    }


def sample_texts(
    split: str,
    examples: Examples,
    labels: list[str],
    encoding: Tokenizer,
    pooling: Pooling,
    length: int | None,
    each: int = 2,
) -> list[Facts]:
    """Return the first `each` texts of every class as the network gets them.

    `pieces` are what each of the `ids` adds to the text, a character that takes several tokens at the last; `lost`
    tokens are cut off, and a character with them that they are a part of. `padded_to` is `length`, or None: as long as
    the longest of its batch; `read` feeds the classifier.
    """
    samples = []
    for place, label in enumerate(labels):
        for row in np.flatnonzero(examples.labels == place)[:each].tolist():
            shown = _shown(encoding, examples.tokens(row), int(examples.whole_lengths[row]))
            read = _read(pooling, shown["pieces"], length)
            samples.append({"split": split, "label": label, **shown, "padded_to": length, "read": read})
    return samples


def _read(pooling: Pooling, pieces: list[str], length: int | None) -> str:
    """Say which position or positions feed the classifier."""
    real, positions = len(pieces), length or len(pieces)
    if pooling == "mean":
        return f"the mean of positions 1 to {real}"
    if pooling == "mean_positions":
        return f"the mean of positions 1 to {positions}, {positions - real} of them padding"
    place = {"first_token": 1, "cls": 1, "last_token": max(real, 1), "last_position": positions}[pooling]
    what = pieces[place - 1] if 0 < place <= real else None
    shown = "padding" if what is None else repr(what) if what else "a part of a character"
    return f"position {place}, {shown}"


def sample_entries(
    split: str, entries: Entries, rows: Sequence[int], encoding: Tokenizer, end: int, mask_prompt: bool
) -> list[Facts]:
    """Return `rows` of the entries of a split as the network gets them, each with the `end` that it is taught.

    `pieces` are as with `sample_texts`; of each `learnt` says whether the network learns to predict it; `lost` tokens
    are cut off at the end.
    """
    samples = []
    for row in rows:
        # The first token is read, and nothing predicts it.
        ids = [*entries.tokens(row)[:1], *entries.targets(row, end, mask_prompt=False)]
        learnt = [False, *(target != IGNORED for target in entries.targets(row, end, mask_prompt))]
        shown = _shown(encoding, ids, int(entries.whole_lengths[row]) + 1)
        samples.append({"split": split, "row": row, **shown, "learnt": learnt})
    return samples


def _shown(encoding: Tokenizer, ids: Sequence[int], whole: int) -> Facts:
    """Return `pieces`, `ids` and how many are `lost` of what had `whole` tokens, cut perhaps within a character."""
    decoder, lost = codecs.getincrementaldecoder("utf-8")("replace"), whole - len(ids)
    added = map(encoding.decode_single_token_bytes, ids)
    pieces = [decoder.decode(each, final=lost <= 0 and place == len(ids)) for place, each in enumerate(added, 1)]
    return {"pieces": pieces, "ids": ids, "lost": lost}


def describe_entries(split: str, entries: Entries, limit: int) -> dict[str, Facts]:
    """Return how long the entries of a split are, before they are cut, and their prompts and responses."""
    whole = entries.whole_lengths
    parts = {"entry": whole, "prompt": entries.prompts, "response": whole - entries.prompts}
    return {name: describe_lengths(split, lengths, limit) for name, lengths in parts.items()}


def describe_cuts(split: str, entries: Entries, limit: int, context: int, new_tokens: int) -> Facts:
    """Return what cutting a split's entries at `limit` tokens takes away, and what does not fit the `context`.

    `without_response` entries have nothing left of it; `no_room` have a prompt after which there is less room than for
    `new_tokens` more.
    """
    lengths = describe_lengths(split, entries.whole_lengths, limit)
    return {
        "split": split,
        "entries": len(entries),
        "limit": limit,
        "cut_entries": lengths["cut_texts"],
        "cut_tokens": lengths["cut_tokens"],
        "without_response": int((entries.cut(limit).trained(mask_prompt=True) == 0).sum()),
        "no_room": int((entries.prompts + new_tokens > context).sum()),
    }


def compare_batchings(
    outline: LanguageModel, entries: Entries, config: InstructionTrainConfig, end: int
) -> list[Facts]:
    """Return what every way of making batches makes of the entries; `outline` is the network without content.

    Of batches of so many `entries`: their `rows` (packed, one holds several entries) and tokens of a row (`width`), on
    average over some steps, and the share of the tokens that are `padding`.
    """
    found = []
    for name in BATCHINGS:
        tried = config.model_copy(update={"batching": name})
        objective = Instruction(outline, entries, entries, tried, torch.device("cpu"), "fp32", end)
        steps = islice(objective.epoch(torch.Generator().manual_seed(config.seed)), STEPS)
        batches = [rows for step in steps for rows in in_batches(step, config.batch_size)]
        shapes = np.array([objective.batch("train", rows).tokens.shape for rows in batches])
        rows, width = shapes.mean(axis=0).tolist()
        padding = 1 - sum(map(objective.tokens, batches)) / int(shapes.prod(axis=1).sum())
        shape = {"entries": config.batch_size, "rows": rows, "width": width, "padding": padding}
        found.append({"batching": name, **shape})
    return found
