"""Can a judge tell good from bad? On some rows another row's reference is judged as if it were the response.

A judge that gives everything 100 finds every reference right, and every other text as well. So does any judge that does
not read what it grades.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.judging.verdicts import Verdict

ROWS = 20
"""Rows on which it is asked; all where there are fewer."""
APART = 30.0
"""Points by which another row's reference must score below the row's own on average."""
SEED = 123
CONTROL = "control.parquet"

Found = tuple[Mapping[str, Any], Sequence[Verdict], Sequence[Verdict]]
"""A row with `row`, `other_row` and `response`, and the verdicts on its own and on the other reference."""


def draw_control(references: Sequence[str]) -> list[tuple[int, int]]:
    """Return pairs of positions: rows, and for each another row whose reference is another text.

    Texts that differ in case and blanks only count as the same. The same references give the same pairs.
    """
    texts = [" ".join(text.split()).casefold() for text in references]
    if len(set(texts)) < 2:
        return []
    draw = random.Random(SEED)
    places = sorted(draw.sample(range(len(texts)), min(ROWS, len(texts))))
    return [(place, _other(texts, place, draw)) for place in places]


def _other(texts: Sequence[str], place: int, draw: random.Random) -> int:
    """Return a position with another text: drawn, or where nearly all are the same, counted out."""
    for _ in range(100):
        if texts[other := draw.randrange(len(texts))] != texts[place]:
            return other
    return draw.choice([other for other, text in enumerate(texts) if text != texts[place]])


def control_facts(found: Sequence[Found], why_none: str) -> dict[str, Any]:
    """Return the fact `control`: `rows` that have both scores, their means `own` and `other`, and whether it `tells`.

    It tells if the means are `apart` points apart, on half of the rows that were drawn at least: with fewer it is not
    known, and `why` says why. Without any such row the means are None.
    """
    means = [[_mean(verdicts) for verdicts in (own, other)] for _, own, other in found]
    both = np.array([pair for pair in means if None not in pair], np.float64)
    own, other = (float(mean) for mean in both.mean(axis=0)) if len(both) else (None, None)
    facts = {"rows": len(both), "own": own, "other": other, "apart": APART}
    if own is None or other is None:
        return facts | {"tells": False, "why": why_none or "none of its verdicts on them could be read"}
    if 2 * len(both) < len(found):
        why = f"only {len(both)} of {len(found)} rows have scores of both references"
        return facts | {"tells": False, "why": why}
    return facts | {"tells": own - other >= APART}


def write_control(found: Sequence[Found], path: Path) -> None:
    """Write what was judged, a line a verdict: both scores, and the reason for the other reference's."""
    columns = {
        "row": "int64", "other_row": "int64", "response": "string", "repeat": "int64", "own_score": "double",
        "other_score": "double", "reason": "string", "status": "string", "reply": "string",
    }  # fmt: skip
    rows = (
        {**row, "repeat": repeat, "own_score": own.score, "other_score": other.score}
        | {name: getattr(other, name) for name in ("reason", "status", "reply")}
        for row, owns, others in found
        for repeat, (own, other) in enumerate(zip(owns, others, strict=True))
    )
    write_rows(rows, columns, path)


def write_rows(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], path: Path) -> None:
    """Write rows as a Parquet file; `columns` are their names with Arrow's names of their types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(rows), pa.schema([*columns.items()])), path)


def _mean(verdicts: Sequence[Verdict]) -> float | None:
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    return sum(scores) / len(scores) if scores else None
