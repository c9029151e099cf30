"""From instructions to answers: prompts written by a template, continued batch by batch, and cut at its markers."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import tiktoken

from components.generation.batched import Continuation, Report, Stopped, continue_prompts
from components.generation.config import GenerationConfig
from components.model.devices import autocast, pick_precision
from components.model.gpt import GPT
from components.model.tokenizer import encode
from components.prompts import Template


@dataclass(frozen=True)
class Answer:
    """A response, how many tokens it took without the end-of-text token, and why there are no more."""

    response: str
    new_tokens: int
    stopped: Stopped


def make_prompts(
    template: Template, encoding: tiktoken.Encoding, instructions: Sequence[str], inputs: Sequence[str]
) -> list[list[int]]:
    """Return the tokens of each entry up to the response."""
    entries = zip(instructions, inputs, strict=True)
    return encode(encoding, [template.prompt(instruction, text) for instruction, text in entries])


def make_batches(prompts: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Yield the numbers of the prompts that go together: of like length, so that little is padded.

    The longest come first, so that what does not fit the memory shows at once.
    """
    order = sorted(range(len(prompts)), key=lambda number: (-len(prompts[number]), number))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def answer_batches(
    model: GPT,
    encoding: tiktoken.Encoding,
    template: Template,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    done: Container[int] = (),
    report: Report | None = None,
) -> Iterator[dict[int, Answer]]:
    """Yield the answers of one batch of prompts after the other, by the prompt's number.

    Batches of which all numbers are in `done` are left out. The model is on the device to compute on.
    """
    device = model.head.device
    precision = pick_precision(config.precision, device)
    for batch in make_batches(prompts, config.batch_size):
        if all(number in done for number in batch):
            continue
        # Around the whole batch: within it, weights are rounded to bf16 once.
        with autocast(device, precision):
            continued = continue_prompts(
                model, encoding, [prompts[number] for number in batch], config, template.stops, batch, report
            )
        yield {
            number: _answer(encoding, template, continuation)
            for number, continuation in zip(batch, continued, strict=True)
        }


def answer(
    model: GPT,
    encoding: tiktoken.Encoding,
    template: Template,
    instructions: Sequence[str],
    inputs: Sequence[str],
    config: GenerationConfig,
    report: Report | None = None,
) -> list[Answer]:
    """Return the answers to instructions, in their order; an input may be empty."""
    prompts = make_prompts(template, encoding, instructions, inputs)
    batches = answer_batches(model, encoding, template, prompts, config, report=report)
    answers = {number: each for batch in batches for number, each in batch.items()}
    return [answers[number] for number in range(len(prompts))]


def _answer(encoding: tiktoken.Encoding, template: Template, continuation: Continuation) -> Answer:
    text = encoding.decode(continuation.tokens)
    return Answer(template.clean(text), len(continuation.tokens), continuation.stopped)
