"""What answering a split will cost, from a few turns of decoding.

Shapes: B rows, T columns, S columns in the cache, D width, V vocabulary, N entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from components.generation.answers import make_batches, row_bytes, rows_at_once
from components.generation.cache import CHUNK, Reader
from components.generation.config import GenerationConfig
from components.generation.decoder import Decoder
from components.models.devices import dtype_of, seconds_of
from components.models.language_model import LanguageModel
from components.models.sizes import AnySize

TURNS = 3
"""Turns that are timed with all rows of a batch, and again with one row."""
PASSING = 12
"""Numbers that reading a prompt takes in passing, for each token and column of the hidden states."""


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
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    end: int,
    device: torch.device,
    precision: str,
) -> Pace:
    """Return the pace at which a model answers, from the longest prompts that leave room in the context."""
    context = model.transformer.size.context
    fitting = [prompt for prompt in prompts if 0 < len(prompt) <= context - 3 * TURNS] or [[end]]
    most = rows_at_once(model.transformer.size, max(map(len, fitting)), config, precision)
    batch = sorted((list(prompt) for prompt in fitting), key=len)[-most:]
    decoder, readers = Decoder(model.to(device), precision), list[Reader]()
    Reader(decoder, batch[:1])  # converts the weights
    reading = seconds_of(lambda: readers.append(Reader(decoder, batch)), device)

    def turn(rows: int) -> float:
        token = torch.zeros(rows, dtype=torch.int64, device=device)
        return float(np.median([seconds_of(lambda: readers[0].read(token), device) for _ in range(TURNS)]))

    full = turn(len(batch))
    readers[0].keep([0])
    alone = turn(1)
    row = max(full - alone, 0.0) / max(len(batch) - 1, 1)
    return Pace(token=reading / (len(batch) * len(batch[-1])), turn=max(alone - row, 0.0), row=row)


def weights_bytes(model: LanguageModel, precision: str) -> int:
    """Return the bytes of a model's weights while the step `respond` decodes: it is converted and, if it may be, taken.

    What is neither a linear layer nor stands for tokens stays as it is, and so does all of a network with a window (see
    `Decoder`). What stands for tokens and is the head too is there in both forms.
    """
    weights, converted = sum(parameter.nbytes for parameter in model.parameters()), dtype_of(precision).itemsize / 4
    if model.transformer.window is not None:
        return weights + int(weights * converted)
    layers = [part for part in model.modules() if isinstance(part, torch.nn.Linear)]
    taken = sum(parameter.nbytes for layer in layers for parameter in layer.parameters())
    embedding = model.transformer.embedding.weight.nbytes
    twice = embedding if model.lm_head is None else 0
    return weights - taken - embedding + int((weights + twice) * converted)


def copied_bytes(model: LanguageModel, precision: str) -> int:
    """Return the bytes of the copy that is made of weights which a model lends a decoder (see `Decoder`)."""
    numbers = 0 if Decoder(model, precision, "lent").lends else sum(each.numel() for each in model.parameters())
    return numbers * dtype_of(precision).itemsize


def answering_bytes(
    size: AnySize, weights: int, vocab_size: int, prompts: NDArray[np.int64], config: GenerationConfig, precision: str
) -> int:
    """Return the bytes of `weights` and of what is held while the longest prompts (N tokens each) are answered.

    These are keys and values of all blocks, what reading the prompts takes in passing, and logits.
    """
    longest = min(int(prompts.max()), size.context)
    rows = min(rows_at_once(size, longest, config, precision), len(prompts))
    number = dtype_of(precision).itemsize
    # When rows leave, those that stay are copied, block by block.
    memory = row_bytes(size, longest, config, precision) * rows * (size.layers + 1) // size.layers
    passing = max(min(rows, CHUNK) * longest * size.width * number * PASSING, 3 * rows * vocab_size * number)
    return weights + memory + passing
