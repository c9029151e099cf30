"""Which labels are probably wrong: confident learning on probabilities of rows that the model was not fitted on.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR 70, 2021), by the
library `cleanlab`: a row counts as another class's if its probability of that class is above the mean that rows with
that label have; of each pair of classes as many rows are taken as these counts say there are.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.core.progress import progress_bar
from components.evaluation.baselines import BASELINE_ROWS, draw_evenly, fit_baseline
from components.evaluation.labelled import Ids, Predict, Probabilities

FOLDS = 5
BASELINE = "svm"
"""Words and characters in a linear SVM: the baseline that is right most often, and has read none of the row's fold."""
BATCH = 1 << 12


@dataclass(frozen=True)
class LabelErrors:
    """The rows whose label is probably wrong."""

    rows: Ids
    """Their positions, the least probable label first (M)."""
    probabilities: Probabilities
    """Of each class, of every row, by baselines that were not fitted on it (N, C)."""


def find_label_errors(table: Path, truth: Ids, groups: Ids, classes: int, seed: int = 0) -> LabelErrors:
    """Return the rows of a table whose label is probably wrong, after two rounds of cross-validation.

    What the first round finds teaches the second nothing, which is right more often for it.

    Args:
        table: a Parquet table with a column `text`; up to `BASELINE_ROWS` of it are in memory as text.
        truth: the class id that each row is labelled with (N).
        groups: equal for rows that are copies or near duplicates (N); these are all in one fold, or they would tell of
            one another what they are labelled.
        classes: how many there are (C).
        seed: of the folds.

    Raises:
        ValueError: if there are fewer than two groups.
    """
    fold_of, taught = _folds(truth, groups, seed), np.ones(len(truth), bool)
    rounds, folds = 2, int(fold_of.max()) + 1
    with progress_bar("cross-validation", rounds * folds, "models") as update:
        for _ in range(rounds):
            probabilities = _out_of_fold(table, truth, fold_of, taught, classes, lambda: update(advance=1))
            found = ranked_errors(truth, probabilities)
            taught[found] = False
    return LabelErrors(found, probabilities)


def ranked_errors(truth: Ids, probabilities: Probabilities) -> Ids:
    """Return the rows whose label is probably wrong, the least probable label first.

    A label of probability 0 is one that the model does not know, as there were too few rows of it: it is left alone.

    Args:
        truth: the class id that each row is labelled with (N).
        probabilities: of each class, by a model that was not fitted on the row (N, C).
    """
    from cleanlab.filter import find_label_issues

    ranked = find_label_issues(truth, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    rows: Ids = np.asarray(ranked, np.int64)
    known = probabilities[rows, truth[rows]] > 0
    wrong: Ids = rows[known & (probabilities[rows].argmax(axis=1) != truth[rows])]
    return wrong


def _out_of_fold(
    table: Path, truth: Ids, fold_of: Ids, taught: NDArray[np.bool_], classes: int, done: Callable[[], None]
) -> Probabilities:
    """Return the probabilities (N, C) of a table's texts by baselines that other folds' rows have `taught`."""
    models = []
    for fold in range(int(fold_of.max()) + 1):
        models.append(_fitted(table, truth, np.flatnonzero((fold_of != fold) & taught), classes))
        done()
    probabilities = np.zeros((len(truth), classes))
    _predict(table, fold_of, models, probabilities)
    return probabilities


def _folds(truth: Ids, groups: Ids, seed: int) -> Ids:
    """Return the fold of each row (N): each with about the same share of every class, no group in two."""
    from sklearn.model_selection import StratifiedGroupKFold

    there = len(np.unique(groups))
    if there < 2:
        raise ValueError("fewer than two different texts")
    largest = int(np.bincount(truth).max())
    dealt = StratifiedGroupKFold(min(FOLDS, there, max(largest, 2)), shuffle=True, random_state=seed)
    fold_of = np.zeros(len(truth), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a class has fewer rows than there are folds
        for fold, (_, rows) in enumerate(dealt.split(truth, truth, groups)):
            fold_of[rows] = fold
    return np.unique(fold_of, return_inverse=True)[1]


def _fitted(table: Path, truth: Ids, rows: Ids, classes: int) -> Predict:
    drawn = rows[draw_evenly(truth[rows], BASELINE_ROWS[BASELINE])]
    texts = ds.dataset(table, format="parquet").take(drawn, columns=["text"])["text"].to_pylist()
    return fit_baseline(BASELINE, texts, truth[drawn], classes)


def _predict(table: Path, fold_of: Ids, models: list[Predict], out: Probabilities) -> None:
    done = 0
    with pq.ParquetFile(table, pre_buffer=False) as file:
        for batch in file.iter_batches(BATCH, columns=["text"]):
            texts, folds = batch["text"].to_pylist(), fold_of[done : done + batch.num_rows]
            for fold in np.unique(folds).tolist():
                own = np.flatnonzero(folds == fold)
                out[done + own] = models[fold]([texts[row] for row in own.tolist()])
            done += batch.num_rows
