"""Three cheap classifiers that a language model has to beat to be worth its cost."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.svm import LinearSVC

from components.evaluation.labelled import Ids, Probabilities

Baseline = Callable[[list[str]], Probabilities]
"""Maps N texts to probabilities (N, C)."""

TITLES = {
    "majority": "the majority class",
    "tfidf": "TF-IDF + logistic regression",
    "svm": "words and characters + linear SVM",
}
LEARNED = ("tfidf", "svm")
"""The baselines that read the texts; a model is compared with the one that is right more often on validation."""
BASELINE_ROWS = {"tfidf": 200_000, "svm": 20_000}
"""Training rows that each is fitted on at most: more add much memory and little accuracy."""
TUNING_ROWS = 3000
"""Rows that settings are chosen on."""
FEWEST = 30
"""Rows of a class that are among these at least, if there are as many."""
FOLDS = 3
FEATURES = 200_000
"""The most frequent words, or characters, that are features at most."""


def fit_baselines(texts: Sequence[str], truth: Ids, shares: Sequence[float]) -> dict[str, Baseline]:
    """Fit all baselines on the training split.

    `tfidf` is logistic regression on TF-IDF of words, `svm` a linear support vector machine on TF-IDF of words, pairs
    of words, and two to five characters within words, with probabilities by a sigmoid (Platt, "Probabilistic Outputs
    for Support Vector Machines", 1999). How strongly they are regularised, and whether classes count alike in the
    first, is chosen by cross-validation. Classes of fewer rows than it has folds are no part of that, and the second
    does not know them. Where there is one class alone, both say it always. `majority` gives every text the `shares` (C)
    of the classes in the data as it really is, which a balanced training split has not.
    """
    classes = len(shares)
    if len(np.unique(truth)) < 2:
        fitted = dict.fromkeys(LEARNED, DummyClassifier().fit(texts, truth))
    else:
        fitted = {"tfidf": _fit_tfidf(texts, truth), "svm": _fit_svm(texts, truth)}
    constant = np.asarray(shares, np.float64)
    return {"majority": lambda rows: np.tile(constant, (len(rows), 1))} | {
        name: _spread(model, classes) for name, model in fitted.items()
    }


def _fit_tfidf(texts: Sequence[str], truth: Ids) -> Pipeline:
    texts, truth = _some(texts, truth, BASELINE_ROWS["tfidf"])
    words = _fit_features(TfidfVectorizer(max_features=FEATURES), texts)
    table = words.transform(texts)
    regression = LogisticRegression(max_iter=1000, tol=1e-3)
    settings = _tuned(regression, {"C": [1.0, 10.0, 100.0], "class_weight": [None, "balanced"]}, table, truth)
    return make_pipeline(words, regression.set_params(**settings).fit(table, truth))


def _fit_svm(texts: Sequence[str], truth: Ids) -> Pipeline:
    texts, truth = _some(texts, truth, BASELINE_ROWS["svm"])
    common = {"sublinear_tf": True, "max_features": FEATURES}
    words = _fit_features(TfidfVectorizer(ngram_range=(1, 2), **common), texts)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common).fit(texts)
    both = make_union(FrozenEstimator(words), FrozenEstimator(characters))
    table = both.fit_transform(texts)
    machine = LinearSVC(random_state=0)
    settings = _tuned(machine, {"C": [1.0, 0.3, 3.0]}, table, truth)
    return make_pipeline(both, _calibrated(machine.set_params(**settings), table, truth))


def _fit_features(words: TfidfVectorizer, texts: Sequence[str]) -> TfidfVectorizer:
    try:
        return words.fit(texts)
    except ValueError:
        # No text holds a word of two letters, as with emoji or single characters: then characters are the words.
        return words.set_params(analyzer="char").fit(texts)


def _tuned(model: BaseEstimator, grid: dict[str, list[object]], table: Any, truth: Ids) -> dict[str, object]:
    """Return the settings under which a model is right most often in cross-validation, the first of equals."""
    rows = _draw(truth, TUNING_ROWS)
    rows = rows[_is_foldable(truth[rows])]
    if len(np.unique(truth[rows])) < 2:
        return {}
    search = GridSearchCV(model, grid, cv=StratifiedKFold(FOLDS, shuffle=True, random_state=0), refit=False)
    settings: dict[str, object] = search.fit(table[rows], truth[rows]).best_params_
    return settings


def _calibrated(machine: LinearSVC, table: Any, truth: Ids) -> BaseEstimator:
    rows = _is_foldable(truth)
    if len(np.unique(truth[rows])) < 2:
        return CalibratedClassifierCV(FrozenEstimator(machine.fit(table, truth))).fit(table, truth)
    return CalibratedClassifierCV(machine, cv=StratifiedKFold(FOLDS), ensemble=False).fit(table[rows], truth[rows])


def _is_foldable(truth: Ids) -> NDArray[np.bool_]:
    """Tell of rows (N) whether their class has one in each fold."""
    return np.asarray(np.bincount(truth)[truth] >= FOLDS)


def _draw(truth: Ids, most: int) -> Ids:
    """Return the positions of about `most` rows, all if there are fewer: of each class its share, at even distances.

    Of a rare class there are more, so that none is missing.
    """
    if len(truth) <= most:
        return np.arange(len(truth))
    drawn = []
    for rows in (np.flatnonzero(truth == label) for label in np.unique(truth)):
        count = min(len(rows), max(FEWEST, round(most * len(rows) / len(truth))))
        drawn.append(rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)])
    return np.sort(np.concatenate(drawn))


def _some(texts: Sequence[str], truth: Ids, most: int) -> tuple[list[str], Ids]:
    rows = _draw(truth, most)
    return [texts[row] for row in rows.tolist()], truth[rows]


def _spread(model: Pipeline | DummyClassifier, classes: int) -> Baseline:
    """Return a baseline whose probabilities (N, C) are zeros for classes that training did not see."""

    def predict(rows: list[str]) -> Probabilities:
        whole = np.zeros((len(rows), classes))
        whole[:, model.classes_] = model.predict_proba(rows)
        return whole

    return predict
