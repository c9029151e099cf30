# NOTE OF THE LEAD to the helper on "compare, promote, deploy": as nothing of yours was to be seen for 50 minutes, I did
# these points myself: this file, components/tracking/{reading,promotion}.py, pipelines/comparison.py,
# pipelines/cli/{compare,promote}.py, tests/evaluation/test_comparison.py, tests/pipelines/test_comparison.py; deploy/ is
# with another helper. Please write no code for them any more. What is left for you: docs/compare_and_promote.md with real
# output of these commands (two spam-demo runs), and a review of them: report defects to me instead of editing. Remove
# components/evaluation/weighted.py if nothing uses it.
"""Two classifiers on the same test rows: what differs, and whether it is more than chance."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.errors import GradusError
from components.evaluation.intervals import resampled_metrics, resamples
from components.evaluation.metrics import Predictions, classification_metrics, mcnemar

SIGNIFICANT = 0.05
FEWEST_ROWS = 30
"""Common rows below which nothing can be said about two models."""
METRICS = ("accuracy", "balanced_accuracy", "f1", "average_precision")


@dataclass(frozen=True)
class Difference:
    """A metric of both models, and the 95 % interval of the second's less the first's."""

    metric: str
    first: float
    second: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same rows.

    `only_first` and `only_second` count the rows on which one of the two alone is right, `p_value` is that of
    McNemar's exact test on them.
    """

    rows: int
    only_first: int
    only_second: int
    p_value: float
    differences: list[Difference]

    @property
    def significant(self) -> bool:
        """Whether one of the two is right significantly more often."""
        return self.p_value < SIGNIFICANT

    def difference(self, metric: str) -> Difference:
        """Return the comparison of one metric.

        Raises:
            GradusError: if it is not defined on these rows.
        """
        for difference in self.differences:
            if difference.metric == metric:
                return difference
        known = ", ".join(difference.metric for difference in self.differences)
        raise GradusError(f"{metric} is not defined on the common test rows; compare by one of {known}")


@dataclass(frozen=True)
class Said:
    """What a run's model said: the rows of `predictions.parquet` of its test split, and the texts it was trained on."""

    test: pd.DataFrame
    trained_on: set[str]


def compare(first: Said, second: Said, same_data: bool, seed: int = 0) -> Comparison:
    """Compare two models on the test rows that both have.

    With `same_data` the test splits are the same file, and rows are matched by number. Otherwise they are matched by
    text and label, and rows that either model was trained on are left out.

    Raises:
        GradusError: if the models have different labels, or too few test rows in common.
    """
    if _labels(first.test) != _labels(second.test):
        raise GradusError(
            f"the models have different labels ({', '.join(_labels(first.test))}; {', '.join(_labels(second.test))}): "
            "nothing can be compared"
        )
    one, other = _matched(first, second, ["row"] if same_data else ["text", "label"], same_data)
    return compare_predictions(_predictions(one), _predictions(other), seed)


def compare_predictions(first: Predictions, second: Predictions, seed: int = 0) -> Comparison:
    """Compare what two models said of the same N rows, in the same order.

    The interval of a difference is that of the paired bootstrap: both models are measured on the same resamples.
    """
    return Comparison(
        rows=len(first.truth),
        only_first=int((first.correct & ~second.correct).sum()),
        only_second=int((second.correct & ~first.correct).sum()),
        p_value=mcnemar(first, second),
        differences=_differences(first, second, seed),
    )


def sentence(comparison: Comparison, first: str, second: str) -> str:
    """Say in one sentence which of two models, called `first` and `second`, is right more often."""
    accuracy = comparison.difference("accuracy")
    p_value = "< 0.001" if comparison.p_value < 0.001 else f"= {comparison.p_value:.3f}"
    figures = f"({accuracy.second:.1%} and {accuracy.first:.1%} of {comparison.rows:,} test rows, McNemar p {p_value})"
    if not comparison.significant:
        return f"There is no significant difference between {second} and {first} {figures}."
    relation = "better" if accuracy.second > accuracy.first else "worse"
    return f"{second} is significantly {relation} than {first} {figures}."


def _differences(first: Predictions, second: Predictions, seed: int) -> list[Difference]:
    metrics = classification_metrics(first), classification_metrics(second)
    spread: dict[str, list[NDArray[np.float64]]] = {name: [] for name in METRICS}
    for weights in resamples(first, seed):
        one, other = (
            {"accuracy": weights @ said.correct / len(said.truth), **resampled_metrics(said, weights)}
            for said in (first, second)
        )
        for name in METRICS:
            spread[name].append(other[name] - one[name])
    found = []
    for name in METRICS:
        values = np.concatenate(spread[name])
        defined = values[~np.isnan(values)]
        if defined.size and all(name in each for each in metrics):
            low, high = np.quantile(defined, [0.025, 0.975]).tolist()
            found.append(Difference(name, metrics[0][name], metrics[1][name], low, high))
    return found


def _matched(first: Said, second: Said, keys: list[str], same_data: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows that both have, in the same order."""
    seen = set() if same_data else first.trained_on | second.trained_on
    parts = [said.test[~said.test["text"].isin(seen)].drop_duplicates(keys).set_index(keys) for said in (first, second)]
    common = parts[0].index.intersection(parts[1].index)
    if len(common) < FEWEST_ROWS:
        raise GradusError(
            f"the runs have {len(common)} test rows in common that neither was trained on, at least {FEWEST_ROWS} are "
            "needed: run both on the same source and split"
        )
    one, other = (part.loc[common].reset_index() for part in parts)
    return one, other


def _predictions(frame: pd.DataFrame) -> Predictions:
    labels = _labels(frame)
    ids = {label: position for position, label in enumerate(labels)}
    probabilities = frame[[f"p_{label}" for label in labels]].to_numpy(dtype=np.float64)
    return Predictions(frame["label"].map(ids).to_numpy(dtype=np.int64), probabilities)


def _labels(frame: pd.DataFrame) -> list[str]:
    return [name.removeprefix("p_") for name in frame.columns if name.startswith("p_")]
