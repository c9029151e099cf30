"""The same fine-tuning by `transformers`: its network, tokenizer, chat template, masking and generation.

All parameters train, in the precision in which ours do, by the preset's recipe: AdamW with its learning rate, schedule,
warm-up, weight decay and clipping, as many steps, and the weights of the lowest validation loss are kept. Which rows go
into a step is what our run deals by the same seed. So what differs is the code that computes.

After every evaluation the state is written to the work folder, from which a training that was stopped goes on.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.quality.conversations import Entry, Material
from benchmarks.quality.peers import Answered
from benchmarks.quality.product import chrf
from components.models.devices import autocast, pick_device, pick_precision
from components.prompts import as_message
from components.training.batching import grouped_by_length, in_batches
from components.training.config import rows_per_step
from components.training.loop import learning_rate_factor, total_steps
from components.training.objectives.instruction import IGNORED
from pipelines.kinds.instruction.config import InstructionConfig

STATE, BEST = "state.pt", "best.pt"
AT_ONCE = 16
"""Prompts that are continued together."""


@dataclass(frozen=True)
class Example:
    """An entry as tokens, its response's end among them, and how many of them are prompt."""

    tokens: list[int]
    prompt: int


class Peer:
    """A training by `transformers`."""

    def __init__(self, config: InstructionConfig, material: Material, work: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.config, self.recipe, self.work = config, config.train, work
        self.device = pick_device(self.recipe.device)
        self.precision = pick_precision(self.recipe.precision, self.device)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(material.weights)
        self.model: Any = AutoModelForCausalLM.from_pretrained(material.weights, dtype=torch.float32).to(self.device)
        self.train, self.validation = (self.encoded(material.entries(name)) for name in ("train", "validation"))
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay, fused=True
        )
        self.taken, self.lowest, self.seconds = 0, float("inf"), 0.0

    def encoded(self, entries: Sequence[Entry]) -> list[Example]:
        """Return entries as tokens, by the chat template of the tokenizer."""
        examples = []
        for entry in entries:
            prompt = self.tokens(self.rendered(entry))
            response = [*self.tokens(entry["output"]), self.tokenizer.eos_token_id]
            examples.append(Example(prompt + response, len(prompt)))
        return examples

    def rendered(self, entry: Entry) -> str:
        """Return the text of an entry up to the response."""
        asked = [{"role": "user", "content": as_message(entry["instruction"], entry["input"])}]
        return str(self.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a text, without any around it."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def fit(self) -> None:
        """Train to the end, from where an earlier attempt was stopped, and take the best weights."""
        self.go_on()
        total = total_steps(self.recipe, len(self.train))
        factor = learning_rate_factor(self.recipe, total)
        steps = self.rows()
        for _ in range(self.taken):
            next(steps)
        started = time.monotonic() - self.seconds
        while self.taken < total:
            self.step(next(steps), self.recipe.learning_rate * factor(self.taken))
            if self.taken % self.recipe.eval_every == 0 or self.taken == total:
                self.evaluate(started)
        self.model.load_state_dict(torch.load(self.work / BEST))

    def rows(self) -> Iterator[list[int]]:
        """Yield the rows of every step, as our run deals them, without an end."""
        order = torch.Generator().manual_seed(self.recipe.seed)
        # Ours does not count the end as a token that is read.
        lengths = np.array([len(each.tokens) - 1 for each in self.train])
        while True:
            yield from grouped_by_length(lengths, rows_per_step(self.recipe), order)

    def step(self, rows: Sequence[int], rate: float) -> None:
        """Take one step of the optimiser."""
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        batch = self.batch([self.train[row] for row in rows])
        with self.autocast():
            loss = self.model(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip or float("inf"))
        self.optimiser.step()
        self.taken += 1
        print(f"step {self.taken}: loss {loss.item():.4f}", flush=True)

    def batch(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Return examples side by side, padded on the right; the loss is that of the responses."""
        width = max(len(each.tokens) for each in examples)
        tokens = torch.full((len(examples), width), self.tokenizer.eos_token_id)
        labels = torch.full_like(tokens, IGNORED)
        real = torch.zeros_like(tokens)
        for line, each in enumerate(examples):
            end = len(each.tokens)
            tokens[line, :end], real[line, :end] = torch.tensor(each.tokens), 1
            labels[line, each.prompt : end] = tokens[line, each.prompt : end]
        batch = {"input_ids": tokens, "attention_mask": real, "labels": labels}
        return {name: each.to(self.device) for name, each in batch.items()}

    @torch.inference_mode()
    def validation_loss(self) -> float:
        """Return the mean loss of the targets in the batches that our run evaluates on."""
        self.model.eval()
        loss = targets = 0.0
        for rows in list(in_batches(range(len(self.validation)), self.recipe.batch_size))[: self.recipe.eval_batches]:
            batch = self.batch([self.validation[row] for row in rows])
            count = int((batch["labels"] != IGNORED).sum())
            with self.autocast():
                loss += self.model(**batch).loss.item() * count
            targets += count
        return loss / targets

    def evaluate(self, started: float) -> None:
        """Keep the weights if they are the best so far, and write down where the training stands."""
        loss = self.validation_loss()
        print(f"step {self.taken}: validation loss {loss:.4f}", flush=True)
        if loss < self.lowest:
            self.lowest = loss
            save(self.model.state_dict(), self.work / BEST)
        self.seconds = time.monotonic() - started
        state = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        save({**state, "taken": self.taken, "lowest": self.lowest, "seconds": self.seconds}, self.work / STATE)

    def go_on(self) -> None:
        """Take up what an earlier attempt has left, if it has."""
        if not (self.work / STATE).is_file():
            return
        state = torch.load(self.work / STATE)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.taken, self.lowest, self.seconds = state["taken"], state["lowest"], state["seconds"]

    @torch.inference_mode()
    def respond(self, entries: Sequence[Entry]) -> list[str]:
        """Return the responses to entries, greedily, rows of like length together."""
        self.model.eval()
        self.tokenizer.padding_side = "left"
        asked = [self.rendered(entry) for entry in entries]
        order = sorted(range(len(asked)), key=lambda number: len(asked[number]))
        responses: dict[int, str] = {}
        for numbers in in_batches(order, AT_ONCE):
            texts = [asked[number] for number in numbers]
            batch = self.tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt").to(self.device)
            with self.autocast():
                found = self.model.generate(
                    **batch, max_new_tokens=self.config.generation.max_new_tokens, do_sample=False
                )
            new = found[:, batch["input_ids"].shape[1] :]
            texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
            responses |= {number: text.strip() for number, text in zip(numbers, texts, strict=True)}
        return [responses[number] for number in range(len(entries))]

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        return autocast(self.device, self.precision)


def save(state: Any, path: Path) -> None:
    """Write a state, which takes the place of an earlier one when it is whole."""
    draft = path.with_suffix(".part")
    torch.save(state, draft)
    draft.replace(path)


def answer(config: InstructionConfig, work: Path) -> Answered:
    """Fine-tune, and answer the test entries of a preset.

    Raises:
        NotImplementedError: if the preset is not one of full fine-tuning in batches by length.
    """
    if config.train.trainable != "all" or config.train.batching != "length" or config.train.accumulate > 1:
        raise NotImplementedError("the peer trains all parameters, in batches of rows of like length")
    material = Material.of(config)
    torch.manual_seed(config.train.seed)
    peer = Peer(config, material, work)
    peer.fit()
    test = material.entries("test")
    values = chrf(peer.respond(test), [entry["output"] for entry in test])
    trained = sum(each.numel() for each in peer.model.parameters())
    return Answered(values, peer.seconds / 60, trained, f"lowest validation loss {peer.lowest:.4f}")
