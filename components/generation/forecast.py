"""What answering a split will cost, from a few turns of decoding.

Shapes: B rows, T columns, S columns in memory, D width, V vocabulary, N entries.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from components.generation.answers import make_batches
from components.generation.cache import BLOCK, CachedGPT, padded_left
from components.generation.config import GenerationConfig
from components.model.config import GPTSize
from components.model.devices import autocast
from components.model.gpt import GPT

TURNS = 3
"""Turns that are timed with all rows of a batch, and again with one row."""
PASSING = 12
"""Numbers that reading a prompt takes in passing, for each token and column of the hidden states."""
BYTES = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class Pace:
    """Seconds of decoding: to read a token of a prompt, of a turn whatever it holds, and of each row in it."""

    token: float
    turn: float
    row: float

    def seconds(self, prompts: NDArray[np.int64], responses: NDArray[np.int64], batch_size: int) -> float:
        """Return the seconds of answering prompts (N tokens each) with so many tokens each (N)."""
        total = 0.0
        for batch in make_batches([range(length) for length in prompts.tolist()], batch_size):
            total += self.token * len(batch) * float(prompts[batch].max())
            total += self.turn * float(responses[batch].max()) + self.row * float(responses[batch].sum())
        return total


def most_tokens(
    prompts: NDArray[np.int64], config: GenerationConfig, context: int, responses: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return how many tokens answers to prompts (N tokens each) take at most, or if they are like `responses` (N)."""
    most = np.clip(context - prompts, 0, config.max_new_tokens)
    # A response is followed by the end-of-text token, which is a turn too.
    wanted = most if responses is None else np.minimum(responses + 1, most)
    return np.asarray(wanted, dtype=np.int64)


def time_decoding(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    end: int,
    device: torch.device,
    precision: str,
) -> Pace:
    """Return the pace at which a model answers, from the longest prompts that leave room in the context."""
    context = model.transformer.size.context
    fitting = [prompt for prompt in prompts if 0 < len(prompt) <= context - 3 * TURNS] or [[end]]
    batch = sorted(fitting, key=len)[-config.batch_size :]
    tokens, padding = (each.to(device) for each in padded_left(batch, end))
    model.to(device).eval()
    with autocast(device, precision):
        CachedGPT(model).read(tokens[:1, :1])  # rounds the weights, where they have to be
        reader = CachedGPT(model, padding if padding.any() else None)
        reading = _seconds(lambda: reader.read(tokens), device)
        full = _turn(reader, len(batch), device)
        reader.keep([0])
        alone = _turn(reader, 1, device)
    row = max(full - alone, 0.0) / max(len(batch) - 1, 1)
    return Pace(token=reading / tokens.numel(), turn=max(alone - row, 0.0), row=row)


def _turn(reader: CachedGPT, rows: int, device: torch.device) -> float:
    """Return the median seconds of a turn."""
    token = torch.zeros(rows, 1, dtype=torch.int64, device=device)
    return float(np.median([_seconds(lambda: reader.read(token), device) for _ in range(TURNS)]))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def answering_bytes(
    size: GPTSize, weights: int, words: int, prompts: NDArray[np.int64], config: GenerationConfig, precision: str
) -> int:
    """Return the bytes of `weights` and of what is held while the longest prompts (N tokens each) are answered.

    These are keys and values of all blocks, what reading the prompts takes in passing, logits, and, in bf16, a second
    copy of the weights.
    """
    rows = min(config.batch_size, len(prompts))
    longest = min(int(prompts.max()), size.context)
    columns = -(-min(longest + config.max_new_tokens, size.context) // BLOCK) * BLOCK
    number = BYTES[precision]
    # While a block's memory grows there are two of it.
    memory = 2 * rows * columns * size.width * number * (size.layers + 1)
    passing = max(rows * longest * size.width * number * PASSING, 3 * rows * words * 4)
    copy = weights // 2 if precision == "bf16" else 0
    return weights + copy + memory + passing
