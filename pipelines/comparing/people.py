"""How far the judge of two runs agrees with people who have rated the responses of both."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.core.errors import TrackingError
from components.evaluation.paired.matching import Pairs
from components.evaluation.ratings import PeopleAgreement, agreement_with_people, preferences
from components.tracking.ratings import Rating, read_ratings
from pipelines.kind import Kind, Runs

Floats = NDArray[np.float64]


def mean_ratings(ratings: list[Rating], rows: "pd.Series[int]") -> Floats:
    """Return the mean rating of each row (N), nan where nobody has rated it."""
    table = pd.DataFrame([(each.row, each.value) for each in ratings], columns=["row", "value"])
    return table.groupby("row")["value"].mean().reindex(rows).to_numpy(np.float64)


def people_of(
    runs: Runs, kind: Kind[Any, Any], pairs: Pairs[Any], texts: tuple[pd.DataFrame, pd.DataFrame], home: Path
) -> PeopleAgreement | None:
    """Return how far scores and people prefer the same one of two responses; None if people have not rated both."""
    if "row" not in texts[0]:
        return None
    tables = [table.iloc[at].reset_index(drop=True) for table, at in zip(texts, pairs.places, strict=True)]
    try:
        rated = [
            mean_ratings(read_ratings(run.run_id, home), table["row"]) for run, table in zip(runs, tables, strict=True)
        ]
    except TrackingError:  # an old server without traces
        return None
    sides = kind.sides(pairs)
    return preferred(rated, [sides.reference, sides.candidate], [table["said"] for table in tables])


def preferred(rated: list[Floats], judged: list[Floats], said: "list[pd.Series[str]]") -> PeopleAgreement | None:
    """Return how far a judge prefers the responses that people do.

    Args:
        rated: people's ratings of both responses (N each), nan where there is none.
        judged: the judge's scores of both.
        said: both responses.
    """
    known = ~np.isnan(np.array([*rated, *judged], np.float64)).any(axis=0)
    lengths: list[Floats] = [np.asarray(each.str.len(), np.float64) for each in said]
    people, judge, longer = (preferences(*(each[known] for each in both)) for both in (rated, judged, lengths))
    return agreement_with_people(people, judge, longer)
