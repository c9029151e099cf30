"""Reading all texts of a run once with the blocks that do not train, into files that training and evaluation take up.

A run with another learning rate, or of more epochs, finds them in the store.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.core.records import Facts
from components.models.config import PADDING_IS_READ, ModelConfig, frozen_blocks
from components.models.devices import dtype_of, pick_device, pick_precision
from components.models.fast.states import States, by_length, create_states
from components.models.fast.trunk import TOKENS, Trunk
from components.models.padding import pad
from components.models.tokenizer import end_of_text
from components.models.weights import make_transformer
from components.training.batching import Examples
from components.training.classification import Prepared, prepare, tokenise
from components.training.config import TrainConfig
from components.training.fine_tuning import Start, prepared
from components.training.objectives import Split

LARGEST = 8 << 30
"""Bytes of states that are still kept; where there are more, training computes all blocks in every step."""
KERNELS = {"bf16": 7_800_000, "fp32": 2_400_000}
"""Bytes that oneDNN keeps of kernels for each number of tokens that goes through the blocks at once, as measured."""
KEPT = 146
"""Numbers of tokens for which it keeps them at most: 1,024 kernels, seven for each."""
TIMED = 8
"""Batches that are timed to know how long all of them take."""


def cache_features(
    tables: Mapping[str, Path], labels: list[str], start: Start, config: TrainConfig, out: Path
) -> Facts:
    """Write what the frozen blocks make of every split to `out/<split>.safetensors` (`components.models.fast.states`).

    `tables` are train, validation and test. Where `train.precision` is bf16, so are the blocks' products and what is
    kept. Where the files would take more than `LARGEST` none is written, and `kept` among the facts is false.

    Raises:
        ConfigError: if the options do not fit the data or the machine.
        WeightsError: if the starting weights do not fit the model.
    """
    device, model = pick_device(config.device), start.model
    precision = pick_precision(config.precision, device)
    encoding = start.tokenizer()
    data = prepare(tables["train"], tables["validation"], labels, encoding, config, model.shape.context)
    test = tokenise(tables["test"], labels, encoding).cut(data.limit)
    splits = {"train": data.train, "validation": data.validation, "test": test}
    blocks = frozen_blocks(config.trainable, model.shape.layers)
    lengths = {name: state_lengths(split, config, data.length) for name, split in splits.items()}
    size = sum(int(each.sum()) for each in lengths.values()) * model.shape.width * dtype_of(precision).itemsize
    facts = {"blocks": blocks, "tokens": {name: int(each.sum()) for name, each in lengths.items()}}
    if size > LARGEST:
        return {**facts, "kept": False}
    with prepared(config):
        trunk = Trunk(make_transformer(model, encoding.n_vocab, start.weights, config.seed), blocks, device, precision)
        for name, split in splits.items():
            states = create_states(out / f"{name}.safetensors", lengths[name], model.shape.width, precision, blocks)
            for rows in by_length(lengths[name], TOKENS):
                values = _states_of(rows, trunk, split, lengths[name], config, end_of_text(encoding))
                for row, value in zip(rows, values, strict=True):
                    states.row(row).copy_(value[: lengths[name][row]])
    return {**facts, "kept": True, "device": device.type, "precision": precision}


def state_lengths(examples: Examples, config: TrainConfig, length: int | None) -> NDArray[np.int64]:
    """Return how many states each text has (N): one a token, or one a position where padding is read too."""
    if length is not None and config.pooling in PADDING_IS_READ:
        return np.full(len(examples), length)
    return np.maximum(examples.lengths, 1)


def _states_of(
    rows: list[int], trunk: Trunk, examples: Examples, lengths: NDArray[np.int64], config: TrainConfig, pad_id: int
) -> Tensor:
    """Return the states (B, T, D) of some texts."""
    tokens, _ = pad([examples.tokens(row) for row in rows], pad_id, int(lengths[rows].max()))
    return trunk(tokens, torch.from_numpy(lengths[rows]), config.causal)


def time_reading(trunk: Trunk, examples: Examples, lengths: NDArray[np.int64], config: TrainConfig) -> float:
    """Return how many seconds a token takes, from at most `TIMED` batches of these texts of all lengths."""
    batches = list(by_length(lengths, TOKENS))
    batches = batches[:: -(-len(batches) // TIMED)]
    _states_of(batches[0], trunk, examples, lengths, config, pad_id=0)  # warms up
    started = time.perf_counter()
    for rows in batches:
        _states_of(rows, trunk, examples, lengths, config, pad_id=0)
    return (time.perf_counter() - started) / sum(int(lengths[rows].sum()) for rows in batches)


def blank_states(data: Prepared, model: ModelConfig, config: TrainConfig, precision: str) -> dict[Split, States]:
    """Return states of train and validation as `cache_features` would write them, without content."""
    blocks = frozen_blocks(config.trainable, model.shape.layers)
    splits: dict[Split, Examples] = {"train": data.train, "validation": data.validation}
    return {
        name: States.blank(state_lengths(split, config, data.length), model.shape.width, precision, blocks)
        for name, split in splits.items()
    }


def bytes_left(states: Mapping[Split, States], precision: str) -> int:
    """Return what is held of these states once they have been computed: files, which are mapped, and kernels."""
    batches = [each.lengths[rows] for each in states.values() for rows in by_length(each.lengths, TOKENS)]
    numbers = {len(lengths) * int(lengths.max()) for lengths in batches}
    return sum(each.values.nbytes for each in states.values()) + KERNELS[precision] * min(len(numbers), KEPT)
