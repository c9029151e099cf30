"""What the figures of responses come to, in plain words."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.evaluation.paired.comparison import compare_scores
from components.evaluation.paired.p_values import SIGNIFICANT, mcnemar, shown
from components.evaluation.verdicts import Verdicts


def sentence(said: Mapping[str, Verdicts], baseline: NDArray[np.bool_], judge: Mapping[str, Any], by_task: bool) -> str:
    """Say whether the trained model's responses are better than the starting model's, and than a baseline.

    Scores are compared on the rows on which both have one (permutation test), exact matches on all rows (McNemar's).

    Args:
        said: what the judge said of `model`, and of `start` if there is one.
        baseline: whether each task's most common training response is right, for every row (N).
        judge: `name` and `is_language_model` of the judge.
        by_task: whether there are tasks, so that the baseline has a response for each.
    """
    model, start = said["model"], said.get("start")
    opening = f"On {len(model.frame):,} test rows the fine-tuned model {_scores(model)} by {judged_by(judge)}"
    compared = f", against {_against(model, start)}" if start else ""
    share, low, high = (model.metrics()[f"exact_match{end}"] for end in ("", "_low", "_high"))
    exact = f"{share:.1%} of its responses are the reference word for word (95 % {low:.1%} to {high:.1%})"
    title = "each task's most common training response" if by_task else "the most common training response"
    others = {f"with {title}": baseline}
    if start:
        others = {"of the starting model's": start.exact, **others}
    parts = [_exactly(model.exact, other, name) for name, other in others.items()]
    return f"{opening}{compared}. {exact}: {' and '.join(parts)}."


def judged_by(judge: Mapping[str, Any]) -> str:
    """Return the judge's name, in which stands that it is no language model where it is none."""
    name = str(judge["name"])
    return name if judge["is_language_model"] or "lexical" in name else f"{name} (lexical: no language model)"


def _scores(of: Verdicts) -> str:
    found = of.metrics()
    if "score" not in found:
        return "has no score: no verdict could be read"
    return f"scores {found['score']:.1f} (95 % {found['score_low']:.1f} to {found['score_high']:.1f})"


def _against(model: Verdicts, start: Verdicts) -> str:
    both = ~np.isnan(model.scores) & ~np.isnan(start.scores)
    if not both.any():
        return "the starting model on no row, as none has a score of both"
    found = compare_scores(start.scores[both], model.scores[both])
    low, high = found.difference_interval
    where = "" if both.all() else f" on the {found.rows:,} rows that both have a score of"
    significant = found.p_value < SIGNIFICANT
    return (
        f"{start.metrics()['score']:.1f} for the starting model (difference {found.difference:+.1f}{where}, "
        f"{low:.1f} to {high:.1f}; {'' if significant else 'not significant, '}permutation p {shown(found.p_value)})"
    )


def _exactly(model: NDArray[np.bool_], other: NDArray[np.bool_], name: str) -> str:
    p = mcnemar(model, other)
    if p >= SIGNIFICANT:
        relation = "not significantly more or fewer than"
    else:
        relation = f"significantly {'more' if model.mean() > other.mean() else 'fewer'} than"
    return f"{relation} {name} ({other.mean():.1%}, McNemar p {shown(p)})"
