"""The same instruction fine-tuning by `transformers`: its network, tokenizer, chat template, masking and generation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.material import Material, Row
from benchmarks.quality.peer_training import Batch, PeerTraining, padded
from benchmarks.quality.peers import Answered
from benchmarks.quality.product import chrf
from components.conversations import as_message
from components.core.errors import ConfigError
from components.training.batching import grouped_by_length, in_batches
from components.training.config import rows_per_step
from components.training.objectives.instruction import IGNORED
from pipelines.kinds.instruction.config import InstructionConfig

AT_ONCE = 16
"""Prompts that are continued together."""


@dataclass(frozen=True)
class Example:
    """An entry as tokens, its response's end among them, and how many of them are prompt."""

    tokens: list[int]
    prompt: int


class ChatTraining(PeerTraining):
    """A language model that learns the responses of conversations of one turn."""

    def __init__(self, config: InstructionConfig, material: Material, work: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(material.weights)
        self.examples = {name: self.encoded(material.rows(name)) for name in ("train", "validation")}
        model = AutoModelForCausalLM.from_pretrained(material.weights, dtype=torch.float32)
        super().__init__(model, len(self.examples["train"]), config.train, work)

    def encoded(self, rows: Sequence[Row]) -> list[Example]:
        """Return entries as tokens, by the chat template of the tokenizer."""
        examples = []
        for row in rows:
            prompt, response = self.tokens(self.rendered(row)), self.tokens(row["output"])
            examples.append(Example([*prompt, *response, self.tokenizer.eos_token_id], len(prompt)))
        return examples

    def rendered(self, row: Row) -> str:
        """Return the text of an entry up to the response."""
        asked = [{"role": "user", "content": as_message(row["instruction"], row["input"])}]
        return str(self.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text, without any around it."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def epoch(self, order: torch.Generator) -> Iterator[list[int]]:
        """Yield rows of like length together."""
        # The end of a response is predicted and not read, so our run does not count it.
        lengths = np.array([len(each.tokens) - 1 for each in self.examples["train"]])
        return grouped_by_length(lengths, rows_per_step(self.recipe), order)

    def batch(self, split: str, rows: Sequence[int]) -> Batch:
        """Return entries, with their responses as labels."""
        examples = [self.examples[split][row] for row in rows]
        labels = [[IGNORED] * each.prompt + each.tokens[each.prompt :] for each in examples]
        return {
            "input_ids": padded([each.tokens for each in examples], self.tokenizer.eos_token_id),
            "attention_mask": padded([[1] * len(each.tokens) for each in examples], 0),
            "labels": padded(labels, IGNORED),
        }

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross entropy of the responses' tokens."""
        loss: Tensor = self.model(**batch).loss
        return loss

    def targets(self, batch: Batch) -> int:
        """Return how many tokens are learnt from."""
        return int((batch["labels"] != IGNORED).sum())

    def validation_rows(self) -> int:
        """Return how many entries the validation split has."""
        return len(self.examples["validation"])

    @torch.inference_mode()
    def respond(self, rows: Sequence[Row], max_new_tokens: int) -> list[str]:
        """Return the responses to entries, greedily, those of like length together."""
        self.tokenizer.padding_side = "left"
        asked = [self.rendered(row) for row in rows]
        responses: dict[int, str] = {}
        for numbers in in_batches(sorted(range(len(asked)), key=lambda number: len(asked[number])), AT_ONCE):
            texts = [asked[number] for number in numbers]
            batch = self.tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt").to(self.device)
            with self.autocast():
                found = self.model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
            written = self.tokenizer.batch_decode(found[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
            responses |= {number: text.strip() for number, text in zip(numbers, written, strict=True)}
        return [responses[number] for number in range(len(rows))]


def answer(config: InstructionConfig, work: Path) -> Answered:
    """Fine-tune, and answer the test entries of a preset.

    Raises:
        ConfigError: if the preset does not train all parameters in batches of entries of like length.
    """
    if config.train.batching != "length":
        raise ConfigError("the peer has batches of entries of like length; the preset has not")
    material = Material.of(config)
    torch.manual_seed(config.train.seed)
    peer = ChatTraining(config, material, work)
    peer.fit()
    test = material.rows("test")
    values = chrf(peer.respond(test, config.generation.max_new_tokens), [row["output"] for row in test])
    trained = sum(each.numel() for each in peer.model.parameters())
    note = f"lowest validation loss {peer.lowest:.4f}"
    return Answered(**material.numbers, values=values, minutes=peer.seconds / 60, trained_parameters=trained, note=note)
