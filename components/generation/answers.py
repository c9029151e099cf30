"""From instructions to answers: prompts written by a template, continued batch by batch, and cut at its markers."""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

from components.conversations import Entry
from components.generation.batched import Report, Stopped, continue_prompts
from components.generation.config import GenerationConfig
from components.generation.decoder import Decoder, Weights
from components.generation.decoding import as_text
from components.generation.kv_cache import whole_steps
from components.models.devices import dtype_of, pick_precision
from components.models.language_model import LanguageModel
from components.models.pretrained.turns import Prompt, encode_fitting
from components.models.sizes import AnySize
from components.models.tokenizer import Tokenizer
from components.prompts import AnyTemplate

MEMORY = 2 << 30
"""Bytes that the keys and values of a batch may take."""


@dataclass(frozen=True)
class Answer:
    """A response, how many tokens it took without the end-of-text token, and why there are no more."""

    response: str
    new_tokens: int
    stopped: Stopped


def make_prompts(
    template: AnyTemplate, encoding: Tokenizer, entries: Iterable[Entry], room: int | None = None
) -> list[Prompt]:
    """Return each entry up to the response, conversations cut by whole turns to `room` tokens, if that is given."""
    return list(encode_fitting(encoding, template, entries, repeat(room)))


def room_for_prompts(size: AnySize, config: GenerationConfig) -> int:
    """Return how many tokens of the context new ones leave."""
    return max(size.context - config.max_new_tokens, 1)


def make_batches(prompts: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Yield the numbers of the prompts that go together, `most` or fewer: of like length, so that little is padded.

    Batches are as large as each other. The longest come first, so that what does not fit the memory shows at once.
    """
    order = sorted(range(len(prompts)), key=lambda number: (-len(prompts[number]), number))
    batches = -(-len(order) // most)
    for batch in range(batches):
        yield order[batch * len(order) // batches : (batch + 1) * len(order) // batches]


def rows_at_once(size: AnySize, longest: int, config: GenerationConfig, precision: str) -> int:
    """Return how many prompts are continued at once, the longest of so many tokens."""
    return max(min(config.batch_size, MEMORY // row_bytes(size, longest, config, precision)), 1)


def row_bytes(size: AnySize, longest: int, config: GenerationConfig, precision: str) -> int:
    """Return the bytes of the keys and values of a prompt of so many tokens, and of what follows it."""
    columns = whole_steps(min(longest + config.max_new_tokens, size.context))
    return 2 * columns * size.layers * size.kv_heads * size.head_width * dtype_of(precision).itemsize


def answer_batches(
    model: LanguageModel,
    encoding: Tokenizer,
    template: AnyTemplate,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    done: Container[int] = (),
    report: Report | None = None,
    first: int = 0,
    weights: Weights = "copied",
) -> Iterator[dict[int, Answer]]:
    """Yield the answers of one batch of prompts after the other, by the prompt's number.

    Batches of which all numbers are in `done` are left out. The model is on the device to compute on. Draws are those
    of the rows from number `first` on. `Decoder` says what becomes of the `weights`.
    """
    precision = pick_precision(config.precision, model.head.device)
    longest = max(map(len, prompts), default=0)
    most = rows_at_once(model.transformer.size, longest, config, precision)
    decoder = Decoder(model, precision, weights)
    for batch in make_batches(prompts, most):
        if all(number in done for number in batch):
            continue
        asked, numbers = [prompts[number] for number in batch], [first + number for number in batch]
        rows = continue_prompts(decoder, encoding, asked, config, template.stops, numbers, report)
        yield {
            number: Answer(template.clean("".join(as_text(encoding, row.tokens))), len(row.tokens), row.stopped)  # type: ignore[arg-type]
            for number, row in zip(batch, rows, strict=True)
        }


def answer(
    model: LanguageModel,
    encoding: Tokenizer,
    template: AnyTemplate,
    entries: Iterable[Entry],
    config: GenerationConfig,
    report: Report | None = None,
    first: int = 0,
    weights: Weights = "copied",
) -> list[Answer]:
    """Return the answers to entries, in their order; `first` and `weights` are as in `answer_batches`."""
    room = room_for_prompts(model.transformer.size, config)
    prompts = [prompt.tokens for prompt in make_prompts(template, encoding, entries, room)]
    batches = answer_batches(model, encoding, template, prompts, config, report=report, first=first, weights=weights)
    answers = {number: each for batch in batches for number, each in batch.items()}
    return [answers[number] for number in range(len(prompts))]
