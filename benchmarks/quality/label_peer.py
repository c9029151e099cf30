"""The same fine-tuning of a classifier by `transformers`: its network and tokenizer, and a head on what is pooled.

An encoder's text is the mean of its tokens, a language model's its last token. `AutoModelForSequenceClassification` is
not used, because it would pool an encoder by a layer that these weights do not bring.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.quality.material import Material, Row
from benchmarks.quality.peer_training import Batch, PeerTraining, padded
from benchmarks.quality.peers import Answered
from components.core.errors import ConfigError
from components.models.layers import INITIAL_STD
from components.training.batching import in_batches, shuffled
from components.training.config import rows_per_step
from pipelines.kinds.classification.config import ClassificationConfig

AT_ONCE = 64
"""Test texts that are classified together."""


class Pooled(nn.Module):
    """A network of `transformers` and a head on what it says of a text."""

    def __init__(self, weights: Path, classes: int) -> None:
        from transformers import AutoModel

        super().__init__()
        self.network: Any = AutoModel.from_pretrained(weights, dtype=torch.float32)
        if getattr(self.network, "pooler", None) is not None:
            self.network.pooler = None  # nothing reads it
        self.is_encoder = self.network.config.model_type in {"bert", "roberta", "modernbert", "deberta-v2"}
        self.head = nn.Linear(self.network.config.hidden_size, classes)
        nn.init.normal_(self.head.weight, std=INITIAL_STD)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
        """Return logits (B, C) of tokens (B, T), of which those are `real` (B, T) that do not pad."""
        states = self.network(input_ids=tokens, attention_mask=real).last_hidden_state
        if self.is_encoder:
            pooled = (states * real[:, :, None]).sum(dim=1) / real.sum(dim=1, keepdim=True)
        else:
            pooled = states[torch.arange(len(states), device=states.device), real.sum(dim=1) - 1]
        logits: Tensor = self.head(pooled)
        return logits


class LabelTraining(PeerTraining):
    """A classifier that learns the labels of texts."""

    def __init__(self, config: ClassificationConfig, material: Material, work: Path) -> None:
        from transformers import AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(material.weights)
        self.rows = {name: material.rows(name) for name in ("train", "validation", "test")}
        self.labels = sorted({row["label"] for row in self.rows["train"]})
        self.tokens = {name: self.encoded(rows, config.train.max_length) for name, rows in self.rows.items()}
        super().__init__(Pooled(material.weights, len(self.labels)), len(self.rows["train"]), config.train, work)

    def encoded(self, rows: Sequence[Row], limit: int | None) -> list[list[int]]:
        """Return texts as tokens, within what the model expects around one."""
        longest = min(limit or self.tokenizer.model_max_length, 512)
        texts = [row["text"] for row in rows]
        ids: list[list[int]] = self.tokenizer(texts, truncation=True, max_length=longest)["input_ids"]
        return ids

    def epoch(self, order: torch.Generator) -> Iterator[list[int]]:
        """Yield rows in random order."""
        return shuffled(len(self.rows["train"]), rows_per_step(self.recipe), order)

    def batch(self, split: str, rows: Sequence[int]) -> Batch:
        """Return texts, and the numbers of their labels."""
        tokens = [self.tokens[split][row] for row in rows]
        labels = [self.labels.index(self.rows[split][row]["label"]) for row in rows]
        return {
            "tokens": padded(tokens, self.tokenizer.pad_token_id or 0),
            "real": padded([[1] * len(each) for each in tokens], 0),
            "labels": torch.tensor(labels),
        }

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross entropy of the labels."""
        return F.cross_entropy(self.model(batch["tokens"], batch["real"]).float(), batch["labels"])

    def targets(self, batch: Batch) -> int:
        """Return how many texts there are."""
        return len(batch["labels"])

    def validation_rows(self) -> int:
        """Return how many texts the validation split has."""
        return len(self.rows["validation"])

    @torch.inference_mode()
    def rightness(self) -> list[float]:
        """Return 1 for each test text whose label is right, else 0."""
        values: list[float] = []
        for numbers in in_batches(range(len(self.rows["test"])), AT_ONCE):
            batch = self.moved("test", numbers)
            with self.autocast():
                logits = self.model(batch["tokens"], batch["real"])
            values += (logits.argmax(dim=1) == batch["labels"]).float().tolist()
        return values


def answer(config: ClassificationConfig, work: Path) -> Answered:
    """Fine-tune, and classify the test texts of a preset.

    Raises:
        ConfigError: if the preset does not train all parameters, or weighs classes.
    """
    if config.balance.method == "class_weight":
        raise ConfigError("for the peer all classes count alike; the preset weighs them")
    torch.manual_seed(config.train.seed)
    material = Material.of(config)
    peer = LabelTraining(config, material, work)
    peer.fit()
    trained = sum(each.numel() for each in peer.model.parameters())
    return Answered(**material.numbers, values=peer.rightness(), minutes=peer.seconds / 60, trained_parameters=trained)
