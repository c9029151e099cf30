"""The manifests of a classification run on 240 messages that hold HTML; only its training is made up."""

import shutil
from pathlib import Path

import pandas as pd

from components.core.records import Manifest
from components.core.store import Store
from components.data.split.config import BalanceConfig, SplitConfig
from components.data.split.labelled import split
from components.data.validation.labelled import validate
from components.data.validation.rules import ValidationConfig
from components.evaluation.classification import evaluate
from components.reporting.classification_plots import draw

HOSTILE = "<script>alert('{}')</script> <img src=http://evil.example/x.png> | **bold**"
URL = "https://data.example/<b>.zip"
LABELS = ["ham", "spam"]
Steps = dict[str, Manifest]


def classification_manifests(folder: Path, model: Path) -> Steps:
    """Write the files of a whole run below `folder` and return the manifests; `model` is a saved classifier."""
    store = Store(folder)
    frame = pd.DataFrame({"row": range(1, 241), "label": ["ham", "spam", "ham", "ham"] * 60})
    frame["text"] = [HOSTILE.format(f"word{chr(97 + row % 26)}{chr(97 + row // 26)}") for row in frame["row"]]
    frame.to_parquet(folder / "table.parquet", index=False)
    rules = ValidationConfig(labels=LABELS)

    def download(out: Path) -> dict[str, object]:
        frame.to_parquet(out / "table.parquet", index=False)
        return {"url": URL, "member": None, "sha256": "ab" * 32, "bytes": 1, "rows": 240}

    def train(out: Path) -> dict[str, object]:
        history = {"step": [0, 10], "epoch": [0.0, 1.0], "examples_seen": [0, 80]}
        history |= {f"{name}_{what}": [0.7, 0.6] for name in ("train", "validation") for what in ("loss", "accuracy")}
        pd.DataFrame(history).to_parquet(out / "history.parquet", index=False)
        pd.DataFrame({"step": [1], "loss": [0.7], "gradient_norm": [1.0]}).to_parquet(out / "steps.parquet")
        shutil.copytree(model, out / "model")
        return {
            "labels": LABELS,
            "steps": 10,
            "kept_step": 10,
            "longest_train_tokens": 32,
            "batch_size": 8,
            "parameters": 5000,
            "trained_parameters": 34,
            "device": "cpu",
            "precision": "fp32",
        }

    made = {"download": store.produce("download", "k", download)}
    made["validate"] = store.produce("validate", "k", lambda out: validate(folder / "table.parquet", rules, out))
    table = made["validate"].path("table.parquet")
    made["split"] = store.produce(
        "split",
        "k",
        lambda out: split(table, SplitConfig(group_near_duplicates=False), BalanceConfig(), LABELS, out),
    )
    made["fine_tune"] = store.produce("fine_tune", "k", train)
    tables = {name: made["split"].path(f"{name}.parquet") for name in ("train", "validation", "test")}

    def score(out: Path) -> dict[str, object]:
        facts = evaluate(tables, model, [0.7, 0.3], "cpu", out)
        draw(made["fine_tune"].path("history.parquet"), 10, facts, out / "figures")
        return facts

    made["evaluate"] = store.produce("evaluate", "k", score)
    return made


def changed(steps: Steps, name: str, **facts: object) -> Steps:
    """The same manifests, but for some facts of one step."""
    manifest = steps[name]
    return {**steps, name: manifest.model_copy(update={"facts": manifest.facts | facts})}
