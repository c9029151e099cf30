"""Cheap classifiers that a language model has to beat to be worth its cost."""

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
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from components.evaluation.labelled import Ids, Predict, Probabilities

Embed = Callable[[list[str]], NDArray[np.float32]]
"""Maps N texts to embeddings (N, D)."""

TITLES = {
    "majority": "the majority class",
    "tfidf": "TF-IDF + logistic regression",
    "svm": "words and characters + linear SVM",
    "encoder": "a frozen encoder + logistic regression",
}
LEARNED = ("tfidf", "svm", "encoder")
"""The baselines that read the texts; a model is compared with the one that is right more often on validation."""
BASELINE_ROWS = {"tfidf": 200_000, "svm": 20_000, "encoder": 20_000}
"""Training rows that each is fitted on at most: more add much memory and little accuracy."""
TUNING_ROWS = 3000
"""Rows that settings are chosen on."""
FEWEST = 30
"""Rows of a class that are among these at least, if there are as many."""
FOLDS = 3
FEATURES = 200_000
"""The most frequent words, or characters, that are features at most."""


def fit_baselines(
    texts: Sequence[str], truth: Ids, shares: Sequence[float], embed: Embed | None = None
) -> dict[str, Predict]:
    """Fit all baselines on the training split; `encoder`, logistic regression on embeddings, if `embed` makes such.

    `tfidf` is logistic regression on TF-IDF of words, `svm` a linear support vector machine on TF-IDF of words, pairs
    of words, and two to five characters within words, with probabilities by a sigmoid (Platt, "Probabilistic Outputs
    for Support Vector Machines", 1999). How strongly they are regularised, and whether classes count alike in the
    first, is chosen by cross-validation. Classes of fewer rows than it has folds are no part of that, and the second
    does not know them. Where there is one class alone, both say it always. `majority` gives every text the `shares` (C)
    of the classes in the data as it really is, which a balanced training split has not.
    """
    classes = len(shares)
    names = [name for name in LEARNED if name != "encoder" or embed]
    if len(np.unique(truth)) < 2:
        fitted = dict.fromkeys(names, DummyClassifier().fit(texts, truth))
    else:
        fitted = {name: _fit(name, texts, truth, embed) for name in names}
    constant = np.asarray(shares, np.float64)
    return {"majority": lambda rows: np.tile(constant, (len(rows), 1))} | {
        name: _spread(model, classes) for name, model in fitted.items()
    }


def fit_baseline(name: str, texts: Sequence[str], truth: Ids, classes: int) -> Predict:
    """Fit one of the baselines that read texts and need no embeddings, as `fit_baselines` does.

    It returns probabilities of all `classes`; those of which there is no row get 0.
    """
    alone = len(np.unique(truth)) < 2
    return _spread(DummyClassifier().fit(texts, truth) if alone else _fit(name, texts, truth, None), classes)


def _fit(name: str, texts: Sequence[str], truth: Ids, embed: Embed | None) -> Pipeline:
    rows = draw_evenly(truth, BASELINE_ROWS[name])
    texts, truth = [texts[row] for row in rows.tolist()], truth[rows]
    model: BaseEstimator
    if name == "encoder":
        embedded = FunctionTransformer(embed)
        table, model = embedded.transform(texts), LogisticRegression(max_iter=1000)
        model.set_params(**_tuned(model, {"C": [1.0, 10.0, 100.0]}, table, truth))
        return make_pipeline(embedded, model.fit(table, truth))
    if name == "tfidf":
        features = [TfidfVectorizer(max_features=FEATURES)]
        model = LogisticRegression(max_iter=1000, tol=1e-3)
        grid: dict[str, list[object]] = {"C": [1.0, 10.0, 100.0], "class_weight": [None, "balanced"]}
    else:
        kinds = ({"ngram_range": (1, 2)}, {"analyzer": "char_wb", "ngram_range": (2, 5)})
        features = [TfidfVectorizer(sublinear_tf=True, max_features=FEATURES, **kind) for kind in kinds]
        model, grid = LinearSVC(random_state=0), {"C": [1.0, 0.3, 3.0]}
    for each in features:
        try:
            each.fit(texts)
        except ValueError:
            # No text holds a word of two letters, as with emoji or single characters: then characters are the words.
            each.set_params(analyzer="char").fit(texts)
    both = make_union(*(FrozenEstimator(each) for each in features))
    table = both.fit_transform(texts)
    model.set_params(**_tuned(model, grid, table, truth))
    return make_pipeline(both, model.fit(table, truth) if name == "tfidf" else _calibrated(model, table, truth))


def _tuned(model: BaseEstimator, grid: dict[str, list[object]], table: Any, truth: Ids) -> dict[str, object]:
    """Return the settings under which a model is right most often in cross-validation, the first of equals."""
    rows = draw_evenly(truth, TUNING_ROWS)
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


def draw_evenly(truth: Ids, most: int) -> Ids:
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


def _spread(model: Pipeline | DummyClassifier, classes: int) -> Predict:
    """Return a baseline whose probabilities (N, C) are zeros for classes that training did not see."""

    def predict(rows: list[str]) -> Probabilities:
        whole = np.zeros((len(rows), classes))
        whole[:, model.classes_] = model.predict_proba(rows)
        return whole

    return predict
