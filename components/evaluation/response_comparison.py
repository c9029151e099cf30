"""Two runs' responses to the same rows: whose scores are higher, and whose are the reference more often."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.evaluation.comparison import SIGNIFICANT, MetricPair, Side
from components.evaluation.intervals import middle, resampled_means
from components.evaluation.metrics import mcnemar_test, wilson_interval
from components.evaluation.paired_scores import PairedScores, compare_scores
from components.evaluation.response_pairing import AnswerPairs
from components.evaluation.verdicts import LEXICAL


@dataclass(frozen=True)
class ComparedResponses:
    """Two runs' responses to the same rows."""

    rows: int
    scores: PairedScores | None
    """Over the rows on which both have a score; None if there is none."""
    unscored: tuple[int, int]
    """Rows without a score, of each."""
    only_first: int
    """Rows on which the first gave the reference word for word, and the second did not."""
    only_second: int
    p_value: float
    """McNemar's exact test, two-sided: that both give the reference equally often."""
    measures: list[MetricPair]
    """The lexical measures, over all rows."""

    @property
    def more_exact(self) -> Side | None:
        """Return who gives the reference word for word significantly more often, or None."""
        if self.p_value >= SIGNIFICANT:
            return None
        return "second" if self.only_second > self.only_first else "first"


def compare_responses(pairs: AnswerPairs, seed: int = 0) -> ComparedResponses:
    """Compare two runs' responses to the same M > 0 rows.

    Means of scores are compared by a permutation test (`components.evaluation.paired_scores`), exact matches by
    McNemar's. Intervals of exact matches are Wilson's, all others paired bootstraps.
    """
    first, second = (
        {name: frame[name].to_numpy(np.float64) for name in frame} for frame in (pairs.first, pairs.second)
    )
    scored = ~np.isnan(first["score"]) & ~np.isnan(second["score"])
    exact = [each["exact_match"] == 1.0 for each in (first, second)]
    return ComparedResponses(
        rows=pairs.rows,
        scores=compare_scores(first["score"][scored], second["score"][scored], seed) if scored.any() else None,
        unscored=(int(np.isnan(first["score"]).sum()), int(np.isnan(second["score"]).sum())),
        only_first=int((exact[0] & ~exact[1]).sum()),
        only_second=int((exact[1] & ~exact[0]).sum()),
        p_value=mcnemar_test(*exact),
        measures=[_measure(name, pairs.first[name], pairs.second[name], seed) for name in LEXICAL],
    )


def _measure(name: str, first: "pd.Series[float]", second: "pd.Series[float]", seed: int) -> MetricPair:
    both = np.column_stack([first, second])
    means = resampled_means(both, seed)
    intervals = [middle(means[:, side]) for side in (0, 1)]
    if name == "exact_match":
        intervals = [_wilson(both[:, side] == 1.0) for side in (0, 1)]
    values = (float(first.mean()), float(second.mean()))
    return MetricPair(name, *values, intervals[0], intervals[1], middle(means[:, 1] - means[:, 0]))


def _wilson(right: NDArray[np.bool_]) -> tuple[float, float]:
    return wilson_interval(int(right.sum()), len(right))
