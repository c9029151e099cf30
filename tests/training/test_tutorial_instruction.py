"""`instruct-book` step by step against the tutorial's own training code, from the same weights, on the same batches."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from components.core.records import NoLogger
from components.models.config import GPTSize, LoraConfig, ModelConfig
from components.models.tokenizer import end_of_text, load_tokenizer
from components.prompts import TEMPLATES, PromptConfig
from components.training.batching import shuffled
from components.training.config import InstructionTrainConfig
from components.training.fine_tuning import Splits, Start
from components.training.instruction import build_gpt, fine_tune, tokenise
from tests.tutorial import tutorial_model

END = 50256
BOOK = {
    "epochs": 2, "batch_size": 8, "clip": None, "eval_every": 5, "eval_batches": 5, "keep": "last",
    "mask_prompt": False, "batching": "padded", "precision": "fp32", "device": "cpu",
}  # fmt: skip


@pytest.fixture
def real_entries(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tiktoken-cache"))
    entries: list[dict[str, str]] = json.loads((shared_data / "instruction-data.json").read_text(encoding="utf-8"))
    return entries


def write(entries: list[dict[str, str]], path: Path) -> Path:
    frame = pd.DataFrame(entries)
    frame.insert(0, "row", range(1, len(frame) + 1))
    frame.to_parquet(path, index=False)
    return path


@pytest.mark.ci
def test_prompts_and_their_tokens_are_the_tutorials(real_entries: list[dict[str, str]], tmp_path: Path) -> None:
    """Encoded apart, a prompt and its response are the tokens that the tutorial gets of both in one."""
    ch07 = pytest.importorskip("llms_from_scratch.ch07")
    encoding = load_tokenizer("gpt2")
    template = TEMPLATES["alpaca"]
    theirs = [ch07.format_input(each) + f"\n\n### Response:\n{each['output']}" for each in real_entries]
    ours = [template.prompt(e["instruction"], e["input"]) + template.completion(e["output"]) for e in real_entries]
    assert ours == theirs
    rows = tokenise(write(real_entries, tmp_path / "all.parquet"), template, encoding)
    assert [rows.tokens(row) for row in range(len(rows))] == [encoding.encode(text) for text in theirs]


def check(entries: list[dict[str, str]], out: Path, size: GPTSize | str, count: int = 20, **options: object) -> None:
    """Train both ways and compare the loss of every step, and the first and last evaluation."""
    ch07 = pytest.importorskip("llms_from_scratch.ch07")
    ch05 = pytest.importorskip("llms_from_scratch.ch05")
    train, validation = entries[:935], entries[1045:]
    paths = write(train, out / "train.parquet"), write(validation, out / "validation.parquet")
    model = ModelConfig(size=size, weights="random", tie_embeddings=False)
    config = InstructionTrainConfig(**(BOOK | {"max_steps": count, "eval_every": count} | options))
    prompt = PromptConfig(template="alpaca")
    fine_tune(Splits(*paths), prompt, Start(model), config, NoLogger(), lambda *_: "", out)
    steps, history = pd.read_parquet(out / "steps.parquet"), pd.read_parquet(out / "history.parquet")

    encoding = load_tokenizer("gpt2")
    assert end_of_text(encoding) == END
    data = {name: ch07.InstructionDataset(each, encoding) for name, each in (("train", train), ("val", validation))}
    tutorial = tutorial_model(build_gpt(model, LoraConfig(), config, encoding.n_vocab))
    optimiser = torch.optim.AdamW(tutorial.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    loaders = [[collated(ch07, data[name], range(start, start + 8)) for start in range(0, 40, 8)] for name in data]
    evaluations = [ch05.evaluate_model(tutorial, *loaders, "cpu", 5)]
    order = torch.Generator().manual_seed(config.seed)
    losses = []
    for rows in list(shuffled(len(train), 8, order))[:count]:
        optimiser.zero_grad()
        loss = ch05.calc_loss_batch(*collated(ch07, data["train"], rows), tutorial, "cpu")
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    evaluations.append(ch05.evaluate_model(tutorial, *loaders, "cpu", 5))
    assert steps["loss"].tolist() == pytest.approx(losses, abs=1e-3)
    # The tutorial's is a mean of batch means, ours one over tokens: of five batches they are near each other.
    ours = history.loc[history["step"].isin([0, count]), ["train_loss", "validation_loss"]].to_numpy()
    assert ours == pytest.approx(np.array(evaluations), abs=0.15)


def collated(ch07, data, rows):
    return ch07.custom_collate_fn([data[row] for row in rows], allowed_max_length=1024)


@pytest.mark.slow
def test_losses_equal_the_tutorials(real_entries: list[dict[str, str]], tmp_path: Path) -> None:
    small = GPTSize(layers=3, heads=4, width=64, context=1024)
    check(real_entries, tmp_path, small, learning_rate=5e-4)


@pytest.mark.slow
def test_losses_equal_the_tutorials_at_124m(real_entries: list[dict[str, str]], tmp_path: Path) -> None:
    check(real_entries, tmp_path, "124M", count=5)
