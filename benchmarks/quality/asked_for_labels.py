"""The language model before training, asked for the label of each test text in its own chat template.

What it answers is the label whose tokens it finds likeliest on average (`components.generation.zero_shot`), so that it
cannot answer anything else.
"""

from pathlib import Path
from typing import Any

from benchmarks.quality.material import Material
from benchmarks.quality.peers import Answered
from components.generation.zero_shot import score_continuations
from components.models.devices import pick_device
from components.models.tokenizer import encode, encode_prompts, end_of_text, load_tokenizer
from components.models.weights import make_gpt
from components.prompts import PromptConfig
from pipelines.kinds.classification.config import ClassificationConfig

QUESTION = "Which of these labels fits the text: {labels}? Answer with the label alone."


def answer(config: ClassificationConfig, _: Path) -> Answered:
    """Classify the test texts of a preset."""
    material = Material.of(config)
    encoding: Any = load_tokenizer(config.model.tokenizer)
    template = PromptConfig(template="chat").resolved(encoding)
    labels = sorted({row["label"] for row in material.rows("train")})
    continuations, stop = encode(encoding, labels), end_of_text(encoding)
    question = QUESTION.format(labels=", ".join(labels))
    model = make_gpt(config.model, encoding.n_vocab, material.weights, config.train.seed).eval()
    model.to(pick_device(config.train.device))
    test = material.rows("test")
    prompts = encode_prompts(encoding, template, [(question, row["text"]) for row in test])
    chosen = [labels[int(score_continuations(model, each, continuations, stop).argmax())] for each in prompts]
    values = [float(row["label"] == label) for row, label in zip(test, chosen, strict=True)]
    return Answered(**material.numbers, values=values, drawn=False)
