"""Evaluating a classifier on all three splits, beside two baselines."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from components.evaluation.baselines import TITLES, fit_baselines
from components.evaluation.metrics import Predictions, Probabilities, classification_metrics, confusion, mcnemar
from components.model.saved import LoadedClassifier, load_classifier
from components.records import Facts

SIGNIFICANT = 0.05
CHUNK = 128
"""Texts between two moves of the progress bar; within a chunk, batches are sorted by length."""


def evaluate(splits: dict[str, Path], model: Path, majority: str, device: str, out: Path) -> Facts:
    """Write `predictions.parquet` and `metrics.json`; return metrics, confusion matrices and a plain sentence.

    `splits` maps train, validation and test to their tables, `model` is a saved classifier's folder, `majority` the
    label that the majority baseline always says (a balanced training set has none of its own). The
    facts' `metrics` are flat (`test/accuracy`, `tfidf/test/f1`), ready for a tracker.
    """
    classifier = load_classifier(model, device)
    labels = classifier.card.labels
    frames = {name: pd.read_parquet(path) for name, path in splits.items()}
    truths = {name: _ids(frame, labels) for name, frame in frames.items()}
    texts = {name: frame["text"].tolist() for name, frame in frames.items()}
    models = {
        "model": lambda rows: _probabilities(classifier, rows),
        **fit_baselines(texts["train"], truths["train"], labels.index(majority), len(labels)),
    }
    said = {
        title: {name: Predictions(truths[name], predict(texts[name])) for name in splits}
        for title, predict in models.items()
    }
    metrics = {
        f"{_prefix(title)}{name}/{metric}": value
        for title, by_split in said.items()
        for name, predictions in by_split.items()
        for metric, value in classification_metrics(predictions).items()
    }
    facts: Facts = {
        "labels": list(labels),
        "metrics": dict(metrics),
        "confusion": {name: confusion(predictions) for name, predictions in said["model"].items()},
        "verdict": verdict({title: by_split["test"] for title, by_split in said.items()}),
    }
    (out / "metrics.json").write_text(json.dumps(facts, indent=1))
    predictions_table(frames, said, labels).to_parquet(out / "predictions.parquet", index=False)
    return facts


def predictions_table(
    frames: dict[str, pd.DataFrame], said: dict[str, dict[str, Predictions]], labels: list[str]
) -> pd.DataFrame:
    """Return one row a message: split, label, predicted, probability, text, row, correct, tfidf, p_<label>.

    Within a split the errors come first, the ones the model was surest of on top.
    """
    parts = []
    for name, frame in frames.items():
        model, names = said["model"][name], np.array(labels)
        part = frame.assign(
            split=name,
            predicted=names[model.predicted],
            correct=model.correct,
            probability=model.probabilities.max(axis=1),
            tfidf=names[said["tfidf"][name].predicted],
        )
        for position, label in enumerate(labels):
            part[f"p_{label}"] = model.probabilities[:, position]
        parts.append(part.sort_values(["correct", "probability"], ascending=[True, False], kind="stable"))
    first = ["split", "label", "predicted", "probability", "text", "row", "correct"]
    table = pd.concat(parts[::-1], ignore_index=True)
    return table[first + [column for column in table.columns if column not in first]]


def verdict(test: dict[str, Predictions]) -> str:
    """Say in one or two plain sentences whether the language model beats the baselines on the test split."""
    model = test["model"]
    shares = {title: float(predictions.correct.mean()) for title, predictions in test.items()}
    opening = f"On {len(model.truth):,} test rows the language model is right on {shares['model']:.1%}"
    parts = []
    for title, name in TITLES.items():
        p_value = mcnemar(model, test[title])
        if p_value >= SIGNIFICANT:
            relation = "does not differ significantly from"
        else:
            relation = "beats" if shares["model"] > shares[title] else "is worse than"
        parts.append(f"{relation} {name} ({shares[title]:.1%}, McNemar p {_p_value(p_value)})")
    return f"{opening}: it {' and '.join(parts)}."


def _probabilities(classifier: LoadedClassifier, texts: list[str]) -> Probabilities:
    """Return probabilities (N, C), with a progress bar on standard error if that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    columns = [f"p_{label}" for label in classifier.card.labels]
    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    quiet = not sys.stderr.isatty()
    shown = track(chunks, "evaluate", console=Console(stderr=True), transient=True, disable=quiet)
    return np.concatenate([classifier.predict(chunk)[columns].to_numpy() for chunk in shown])


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _prefix(title: str) -> str:
    return "" if title == "model" else f"{title}/"


def _ids(frame: pd.DataFrame, labels: list[str]) -> np.ndarray:
    positions = {label: position for position, label in enumerate(labels)}
    return frame["label"].map(positions).to_numpy(dtype=np.int64)
