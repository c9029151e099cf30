"""What the tests of fine-tuning share: a tiny recipe, messages that one word gives away, a logger that remembers."""

from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file

from components.core.records import Facts
from components.models.config import LoraConfig, ModelConfig
from components.training.classification import Classes, fine_tune
from components.training.config import TrainConfig
from components.training.fine_tuning import Splits, Start

LABELS = ["ham", "spam"]
MODEL = ModelConfig(
    size={"layers": 2, "heads": 2, "width": 32, "context": 32},
    weights="random",
    vocabulary="sample://vocabulary.tiktoken",
    dropout=0.1,
)
QUICK = {
    "trainable": "all",
    "learning_rate": 3e-3,
    "batch_size": 4,
    "eval_every": 5,
    "device": "cpu",
    "precision": "fp32",
}


class Recorder:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.rows.append((step, values))


def write_splits(folder: Path) -> None:
    """Messages that one word gives away."""
    for name, count in (("train", 40), ("validation", 12)):
        texts = [f"{'win a prize' if row % 2 else 'see you soon'} number {row}" for row in range(count)]
        labels = [LABELS[row % 2] for row in range(count)]
        pd.DataFrame({"text": texts, "label": labels}).to_parquet(folder / f"{name}.parquet")


def tune(
    folder: Path,
    name: str = "out",
    logger: Recorder | None = None,
    model: ModelConfig = MODEL,
    lora: LoraConfig | None = None,
    class_weights: list[float] | None = None,
    out: Path | None = None,
    frozen: Path | None = None,
    weights: Path | None = None,
    **options: object,
) -> Facts:
    if not (folder / "train.parquet").exists():
        write_splits(folder)
    if out is None:
        out = folder / name
        out.mkdir(exist_ok=True)
    config = TrainConfig(**(QUICK | options))
    splits = Splits(folder / "train.parquet", folder / "validation.parquet")
    start = Start(model, weights, lora or LoraConfig())
    return fine_tune(splits, Classes(LABELS, class_weights), start, config, logger or Recorder(), out, frozen)


def weights(folder: Path, name: str = "out") -> dict[str, torch.Tensor]:
    return load_file(folder / name / "model/model.safetensors")
