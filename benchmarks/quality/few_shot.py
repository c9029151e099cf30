"""The model before training, shown three examples: training entries, drawn by the seed, as earlier turns of the talk.

They go through the product's own generation, as the test entries of its run do: greedy, with as many new tokens.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.material import Material, Row
from benchmarks.quality.peers import Answered
from benchmarks.quality.product import chrf
from components.chat import ChatTemplate
from components.conversations import as_message
from components.generation.answers import answer_batches
from components.models.devices import pick_device
from components.models.tokenizer import load_tokenizer
from components.models.weights import make_gpt
from pipelines.kinds.instruction.config import InstructionConfig

SHOTS = 3


def answer(config: InstructionConfig, _: Path) -> Answered:
    """Answer the test entries of a preset after three examples, the same ones before each."""
    material = Material.of(config)
    encoding: Any = load_tokenizer(config.model.tokenizer)
    template = config.prompt.resolved(encoding)
    assert isinstance(template, ChatTemplate)
    examples = random.Random(config.train.seed).sample(material.rows("train"), SHOTS)
    test = material.rows("test")
    prompts = [encoding.encode_rendered(shown(template, encoding, examples, entry)) for entry in test]
    model = make_gpt(config.model, encoding.n_vocab, material.weights, config.train.seed).eval()
    model.to(pick_device(config.train.device))
    answers = {
        number: each.response
        for batch in answer_batches(model, encoding, template, prompts, config.generation)
        for number, each in batch.items()
    }
    values = chrf([answers[number] for number in range(len(test))], [entry["output"] for entry in test])
    rows = ", ".join(str(entry["row"]) for entry in examples)
    return Answered(**material.numbers, values=values, note=f"examples: training rows {rows}")


def shown(template: ChatTemplate, encoding: Any, examples: Sequence[Row], entry: Row) -> str:
    """Return the examples as turns, then the entry's own, rendered up to the response."""
    turns: list[dict[str, str]] = []
    for each in examples:
        turns += [turn(encoding, "user", message(each)), turn(encoding, "assistant", each["output"])]
    return template.render([*turns, turn(encoding, "user", message(entry))])


def turn(encoding: Any, role: str, content: str) -> dict[str, str]:
    """Return a message in which no special token of the vocabulary is one."""
    return {"role": role, "content": encoding.hide_special(content)}


def message(entry: Row) -> str:
    """Return what an entry asks."""
    return as_message(entry["instruction"], entry["input"])
