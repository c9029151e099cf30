"""Where two runs' models differ: by group, by length, and the rows on which they disagree."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.evaluation.metrics import METRICS
from components.evaluation.paired.groups import by_group, by_length, disagreements
from components.evaluation.paired.matching import Pairs
from pipelines.compared import Details, Example
from pipelines.kind import Kind

EXAMPLES = 10
"""Rows that are shown of those where one is ahead of the other."""
LONGEST = 1000
"""Characters of a text among the examples."""


def details_of(kind: Kind[Any, Any], pairs: Pairs[Any], texts: tuple[pd.DataFrame, pd.DataFrame]) -> Details:
    """Return where two models differ on M rows that can be compared.

    Args:
        kind: of both runs.
        pairs: what the two have on the same rows.
        texts: what each run's test rows are (`Kind.texts`).
    """
    one, other = (table.iloc[at].reset_index(drop=True) for table, at in zip(texts, pairs.places, strict=True))
    sides = kind.sides(pairs)
    values = sides.reference, sides.candidate
    groups, lengths = one["group"], np.asarray(one["text"].str.len(), np.int64)
    table = pd.DataFrame(
        {
            "text": one["text"],
            "expected": one["expected"],
            "first": one["said"],
            "second": other["said"],
            "first_value": values[0].astype(np.float64),
            "second_value": values[1].astype(np.float64),
        }
    )
    apart = table.iloc[disagreements(values, (one["said"], other["said"]))].reset_index(drop=True)
    return Details(
        metric=METRICS[kind.decides].title_with_unit,
        group=kind.group,
        by_group=by_group(groups, *values) if groups.notna().any() else [],
        by_length=by_length(lengths, *values),
        disagreements=len(apart),
        examples=_examples(apart),
        rows=apart,
    )


def _examples(apart: pd.DataFrame) -> list[Example]:
    """Return the first rows that the second is ahead on, the first, and neither."""
    ahead: NDArray[np.float64] = np.sign((apart["second_value"] - apart["first_value"]).fillna(0).to_numpy(np.float64))
    chosen = pd.concat([apart[ahead == way].head(EXAMPLES) for way in (1, -1, 0)])
    chosen = chosen.astype(object).where(chosen.notna(), None)
    return [
        Example.model_validate({name: each[:LONGEST] if isinstance(each, str) else each for name, each in row.items()})
        for row in chosen.to_dict("records")
    ]
