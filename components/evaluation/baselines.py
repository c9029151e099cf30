"""Two cheap classifiers that a language model has to beat to be worth its cost."""

from collections.abc import Callable

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from components.evaluation.metrics import Ids, Probabilities

Baseline = Callable[[list[str]], Probabilities]
"""Maps N texts to probabilities (N, C)."""

TFIDF_ROWS = 200_000
"""Training rows that TF-IDF is fitted on at most, taken at even distances: more add much memory and little accuracy."""
TITLES = {"majority": "the majority class", "tfidf": "TF-IDF + logistic regression"}


def fit_baselines(texts: list[str], truth: Ids, majority: int, classes: int) -> dict[str, Baseline]:
    """Fit both baselines on the training split.

    `majority` is the most frequent class of the data as it really is: a balanced training set has none.
    """
    constant = DummyClassifier(strategy="constant", constant=majority).fit([""], [majority])
    tfidf = _fit_tfidf(texts, truth)
    return {
        "majority": lambda rows: _spread(constant.predict_proba(rows), constant.classes_, classes),
        "tfidf": lambda rows: _spread(tfidf.predict_proba(rows), tfidf.classes_, classes),
    }


def _fit_tfidf(texts: list[str], truth: Ids) -> Pipeline:
    # The defaults of both, but for enough iterations to converge.
    regression = LogisticRegression(max_iter=1000)
    try:
        return make_pipeline(TfidfVectorizer(), regression).fit(texts, truth)
    except ValueError:
        # No text holds a word of two letters, as with emoji or single characters: then characters are the words.
        return make_pipeline(TfidfVectorizer(analyzer="char"), regression).fit(texts, truth)


def _spread(probabilities: Probabilities, seen: Ids, classes: int) -> Probabilities:
    """Return probabilities (N, C), with zeros for classes that training did not see."""
    whole = np.zeros((len(probabilities), classes))
    whole[:, seen] = probabilities
    return whole
