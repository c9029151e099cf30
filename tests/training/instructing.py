"""What the tests of instruction fine-tuning share: a tiny recipe and entries with one rule in them."""

from pathlib import Path

import pandas as pd
import tiktoken

from components.conversations import Entry
from components.core.records import Facts
from components.models.config import LoraConfig, ModelConfig
from components.models.language_model import LanguageModel
from components.prompts import PromptConfig, Template
from components.training.config import InstructionTrainConfig
from components.training.fine_tuning import Splits, Start
from components.training.instruction import fine_tune
from tests.training.tuning import Recorder

MODEL = ModelConfig(
    size={"layers": 2, "heads": 2, "width": 32, "context": 64},
    weights="random",
    vocabulary="sample://vocabulary.tiktoken",
    dropout=0.1,
)
PROMPT = PromptConfig(
    template={"instruction": "Q: {instruction}", "input": " ({input})", "response": "\nA: {output}", "stop": ["\nQ:"]}
)
QUICK = {
    "learning_rate": 3e-3,
    "batch_size": 4,
    "eval_every": 5,
    "device": "cpu",
    "precision": "fp32",
}


def write_splits(folder: Path, train: int = 40, validation: int = 12) -> None:
    """Entries of different lengths, a third of them without an input."""
    for name, count in (("train", train), ("validation", validation)):
        rows = range(count)
        frame = pd.DataFrame(
            {
                "row": [row + 1 for row in rows],
                "instruction": [f"say {'yes ' * (row % 5 + 1)}or no to {row}" for row in rows],
                "input": ["" if row % 3 == 0 else f"number {row}" for row in rows],
                "output": ["yes it is" if row % 2 else "no" for row in rows],
            }
        )
        frame.to_parquet(folder / f"{name}.parquet", index=False)


def echo(model: LanguageModel, encoding: tiktoken.Encoding, template: Template, entry: Entry) -> str:
    """Stands for generation, which is another component's."""
    assert not model.training
    return f"{template.prompt(*entry)}|{model.transformer.h[0].ln_1.weight[0].item():.4f}"


def instruct(
    folder: Path,
    name: str = "out",
    logger: Recorder | None = None,
    model: ModelConfig = MODEL,
    lora: LoraConfig | None = None,
    out: Path | None = None,
    weights: Path | None = None,
    **options: object,
) -> Facts:
    if not (folder / "train.parquet").exists():
        write_splits(folder)
    if out is None:
        out = folder / name
        out.mkdir()
    config = InstructionTrainConfig(**(QUICK | options))
    splits = Splits(folder / "train.parquet", folder / "validation.parquet")
    start = Start(model, weights, lora or LoraConfig())
    return fine_tune(splits, PROMPT, start, config, logger or Recorder(), echo, out)
