"""Evaluating a classifier on all three splits, beside the baselines."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from components.core.progress import progress_bar
from components.core.records import Facts
from components.evaluation import curves
from components.evaluation.baselines import BASELINE_ROWS, LEARNED, TITLES, fit_baselines
from components.evaluation.embeddings import Embedder
from components.evaluation.labelled import Predict, Predictions
from components.evaluation.metrics import LABELS, bootstrap_intervals, classification_metrics, confusion, per_class
from components.evaluation.paired.p_values import SIGNIFICANT, mcnemar, shown
from components.evaluation.scoring import Scored, read_evenly, score, write_predictions
from components.learned import TestedRows
from components.models.fast.onednn import onednn_multiplies
from components.models.fast.prepared import prepared
from components.models.fast.states import States, open_states
from components.models.saved.classifier import LoadedClassifier, load_classifier

WITH_INTERVALS = ("validation", "test")
"""Splits whose figures of the model get intervals: what it was trained on says nothing about other texts."""


def evaluate(
    splits: dict[str, Path],
    model: Path,
    shares: Sequence[float],
    device: str,
    out: Path,
    ordered: bool = False,
    frozen: Path | None = None,
    unseen: TestedRows | None = None,
    encoder: Path | None = None,
    miss_cost: float = 1.0,
) -> Facts:
    """Write metrics, predictions and what figures are drawn from; return metrics, counts and a plain sentence.

    Files: `metrics.json` (the facts), `predictions.parquet` (errors first), and in `figures/` of the test split
    `curves.parquet`, with validation `thresholds.parquet`, of all splits `calibration.parquet` and `lengths.parquet`.
    Splits are read in batches, so that memory holds their class ids and probabilities and not their texts.

    `splits` maps train, validation and test to their tables, `model` is a saved classifier's folder, `shares` the
    share of each label in the data as it is (a balanced training set has others), `ordered` says that the labels are
    steps of a scale. `frozen` is the folder in which the frozen blocks have left what they make of these
    texts, if they have; `components.evaluation.scoring.score` says how near that comes. `unseen` says which test rows
    no earlier model was trained on that this one continues: no figure counts the others. `encoder` is
    the folder of a pretrained model whose embeddings make one more baseline. `miss_cost` is what a miss of the second
    of two labels costs, by which a threshold is chosen. The facts' `metrics` are flat
    (`test/accuracy`, `tfidf/test/f1`), ready for a tracker.
    """
    classifier = load_classifier(model, device)
    # Where the last block is computed by itself it takes its weights as they are.
    if frozen is None and onednn_multiplies(torch.device(device), torch.float32):
        classifier.model.transformer = prepared(classifier.model.transformer, torch.float32, take=True, fuse=False)
    labels, limit = classifier.card.labels, classifier.card.max_length
    texts, truth = read_evenly(splits["train"], labels, max(BASELINE_ROWS.values()))
    baselines = fit_baselines(texts, truth, shares, Embedder(encoder, device) if encoder else None)
    whole = _scored(splits, classifier, baselines, frozen)
    scored = whole | ({"test": whole["test"].take(unseen.counted)} if unseen else {})
    validation = scored["validation"].predictions
    learned = [name for name in LEARNED if name in baselines]
    best = max(learned, key=lambda name: float(validation[name].correct.mean()))
    facts: Facts = {
        "labels": list(labels),
        "ordered": ordered,
        "metrics": _metrics(scored, ordered),
        "per_class": {name: per_class(found.predictions["model"], labels) for name, found in scored.items()},
        "confusion": {name: confusion(found.predictions["model"]) for name, found in scored.items()},
        "lengths": {name: _lengths(found, limit) for name, found in scored.items()},
        "max_length": limit,
        "baseline_rows": {name: min(len(texts), BASELINE_ROWS[name]) for name in learned},
        "baseline": best,
        "verdict": " ".join([verdict(scored["test"].predictions, best), *(unseen.sentences() if unseen else ())]),
        **({"ancestors": unseen.facts()} if unseen else {}),
        "threshold": _write_figures(scored, labels, out / "figures", miss_cost),
        "miss_cost": miss_cost,
    }
    (out / "metrics.json").write_text(json.dumps(facts, indent=1, allow_nan=False))
    write_predictions(splits, whole, labels, out / "predictions.parquet")
    return facts


def _scored(
    splits: Mapping[str, Path], classifier: LoadedClassifier, baselines: Mapping[str, Predict], frozen: Path | None
) -> dict[str, Scored]:
    """Return what the model and the baselines say of each split."""
    rows = sum(pq.read_metadata(path).num_rows for path in splits.values())

    def states(name: str) -> States | None:
        return open_states(frozen / f"{name}.safetensors") if frozen else None

    with progress_bar("evaluate", rows, "") as update:
        return {name: score(path, classifier, baselines, update, states(name)) for name, path in splits.items()}


def _write_figures(
    scored: Mapping[str, Scored], labels: list[str], folder: Path, miss_cost: float
) -> dict[str, float] | None:
    """Write what figures are drawn from; return the cheapest threshold, if there is one to choose."""
    folder.mkdir()
    thresholds = curves.thresholds_table(scored, miss_cost)
    thresholds.to_parquet(folder / "thresholds.parquet", index=False)
    curves.curves_table(scored["test"], labels).to_parquet(folder / "curves.parquet", index=False)
    curves.calibration_table(scored).to_parquet(folder / "calibration.parquet", index=False)
    curves.lengths_table(scored).to_parquet(folder / "lengths.parquet", index=False)
    return curves.cheapest_threshold(thresholds)


def verdict(test: Mapping[str, Predictions], best: str) -> str:
    """Say in a plain sentence whether the language model beats the majority class and the better baseline on test."""
    model = test["model"]
    shares = {title: float(predictions.correct.mean()) for title, predictions in test.items()}
    opening = f"On {len(model.truth):,} test rows the language model is right on {shares['model']:.1%}"
    parts = []
    for title in ("majority", best):
        p_value = mcnemar(model.correct, test[title].correct)
        if p_value >= SIGNIFICANT:
            relation = "does not differ significantly from"
        else:
            relation = "beats" if shares["model"] > shares[title] else "is worse than"
        parts.append(f"{relation} {TITLES[title]} ({shares[title]:.1%}, McNemar p {shown(p_value)})")
    return f"{opening}: it {' and '.join(parts)}."


def _metrics(scored: dict[str, Scored], ordered: bool) -> dict[str, float]:
    """Return all metrics by their flat names, the model's before the baselines'."""
    found = {
        f"{'' if title == 'model' else f'{title}/'}{name}/{metric}": value
        for title in ("model", *TITLES)
        for name, split in scored.items()
        if title in split.predictions
        for metric, value in classification_metrics(split.predictions[title], ordered).items()
    }
    for name in WITH_INTERVALS:
        model = scored[name].predictions["model"]
        intervals = bootstrap_intervals(LABELS, model, model.classes)
        found |= {f"{name}/{metric}": value for metric, value in intervals.items()}
    return found


def _lengths(scored: Scored, limit: int) -> dict[str, Any]:
    """Return how long the texts of a split are in tokens, and how many are cut at `limit`."""
    lengths, cut = scored.lengths, int((scored.lengths > limit).sum())
    return {
        "median": float(np.median(lengths)),
        "longest": int(lengths.max()),
        "cut": cut,
        "cut_share": cut / len(lengths),
    }
