"""Two runs' responses to the same rows: whose scores are higher, and whose are the reference more often."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.evaluation.comparison import MetricPair, Side
from components.evaluation.intervals import middle, resampled_means
from components.evaluation.metrics import mcnemar_test, wilson_interval
from components.evaluation.multiplicity import bootstrap_p, different
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
    scores_differ: bool
    """Whether the scores differ by more than chance, all measures taken together."""
    primary: str = "score"
    """The measure that decides."""

    @property
    def better(self) -> Side | None:
        """Return who is significantly better in the measure that decides, or None."""
        if self.primary == "score":
            return self.higher
        return next((each.better for each in self.measures if each.name == self.primary), None)

    @property
    def higher(self) -> Side | None:
        """Return whose mean score is significantly higher, or None."""
        if self.scores is None or not self.scores_differ or self.scores.difference == 0:
            return None
        return "second" if self.scores.difference > 0 else "first"

    @property
    def more_exact(self) -> Side | None:
        """Return who gives the reference word for word significantly more often, or None."""
        return next((each.better for each in self.measures if each.name == "exact_match"), None)


def compare_responses(pairs: AnswerPairs, seed: int = 0, primary: str = "score") -> ComparedResponses:
    """Compare two runs' responses to the same M > 0 rows.

    Means of scores are compared by a permutation test (`components.evaluation.paired_scores`), exact matches by
    McNemar's. Intervals of exact matches are Wilson's, all others paired bootstraps. `primary` decides, and the others
    are corrected together (`components.evaluation.multiplicity`).
    """
    first, second = (
        {name: frame[name].to_numpy(np.float64) for name in frame} for frame in (pairs.first, pairs.second)
    )
    scored = ~np.isnan(first["score"]) & ~np.isnan(second["score"])
    exact = [each["exact_match"] == 1.0 for each in (first, second)]
    scores = compare_scores(first["score"][scored], second["score"][scored], seed) if scored.any() else None
    p_value = mcnemar_test(*exact)
    measures = [_measure(name, pairs.first[name], pairs.second[name], seed, p_value) for name in LEXICAL]
    # A lexical judge's score is one of the measures, and counts once.
    p_values = {each.name: each.p_value for each in measures if each.name != pairs.judge.measure}
    found = different(primary, p_values | ({"score": scores.p_value} if scores else {}))
    return ComparedResponses(
        rows=pairs.rows,
        scores=scores,
        unscored=(int(np.isnan(first["score"]).sum()), int(np.isnan(second["score"]).sum())),
        only_first=int((exact[0] & ~exact[1]).sum()),
        only_second=int((exact[1] & ~exact[0]).sum()),
        p_value=p_value,
        measures=[replace(each, significant=each.name in found) for each in measures],
        scores_differ="score" in found,
        primary=primary,
    )


def _measure(
    name: str, first: "pd.Series[float]", second: "pd.Series[float]", seed: int, mcnemars: float
) -> MetricPair:
    both = np.column_stack([first, second])
    means = resampled_means(both, seed)
    intervals = [middle(means[:, side]) for side in (0, 1)]
    if name == "exact_match":
        intervals = [_wilson(both[:, side] == 1.0) for side in (0, 1)]
    values = (float(first.mean()), float(second.mean()))
    differences = means[:, 1] - means[:, 0]
    p_value = mcnemars if name == "exact_match" else bootstrap_p(values[1] - values[0], differences)
    return MetricPair(name, *values, intervals[0], intervals[1], middle(differences), p_value)


def _wilson(right: NDArray[np.bool_]) -> tuple[float, float]:
    return wilson_interval(int(right.sum()), len(right))
