"""How far two judges agree on the same responses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, pearsonr, spearmanr

from components.evaluation.paired.comparison import MetricPair, compare_scores

Floats = NDArray[np.float64]

COEFFICIENTS = {"pearson": pearsonr, "spearman": spearmanr, "kendall": kendalltau}
"""Linear correlation, correlation of ranks, and tau-b: concordant less discordant pairs, with ties allowed for."""
SAME = "one of the two gives every response the same score"
FEW = "fewer than two responses have a score of both"


@dataclass(frozen=True)
class Agreement:
    """Two judges on the rows that both have scored."""

    rows: int
    coefficients: dict[str, float]
    """`pearson`, `spearman` and `kendall`, from -1 to 1; none where they are undefined."""
    undefined: str | None
    """Why they are undefined."""
    scores: MetricPair | None
    """The mean scores of both; None without a row."""


def agreement(first: Floats, second: Floats) -> Agreement:
    """Return how far two judges' scores of the same N responses agree; nan stands for a missing score.

    Correlations say whether they put responses in the same order, not whether they give the same scores: a judge that
    is ten points milder everywhere correlates perfectly. The means and their difference say the rest.
    """
    both = ~np.isnan(first) & ~np.isnan(second)
    one, other = first[both], second[both]
    scores = compare_scores(one, other) if both.any() else None
    undefined = FEW if len(one) < 2 else SAME if np.ptp(one) == 0 or np.ptp(other) == 0 else None
    found = {} if undefined else {name: float(measure(one, other)[0]) for name, measure in COEFFICIENTS.items()}
    return Agreement(int(both.sum()), found, undefined, scores)
