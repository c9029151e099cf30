"""A judge's verdicts on one set of responses, a row a response: repeats become one score, nothing is left out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.evaluation.metrics import RESPONSES, bootstrap_intervals, evaluated

Floats = NDArray[np.float64]

SCORED, UNPARSED = "scored", "unparsed"
LEXICAL = ("exact_match", "token_f1", "chrf")
"""Measures of a response against its reference, which every row has, whatever the verdict."""
STEP = 10
"""Width of a bar of the histogram, in points of the score."""
HIGHEST = 100


@dataclass(frozen=True)
class Verdicts:
    """A judge's verdicts on N responses, in the order that was asked for."""

    frame: pd.DataFrame
    """A row a response: `row`; `score` (0 to 100, the mean over the repeats that could be read, nan if none could);
    `spread` (their standard deviation, nan with fewer than two); `made` and `unparsed`, verdicts and those that could
    not be read; `reason`, `status`; and the lexical measures."""

    @property
    def made(self) -> int:
        """Verdicts, of all repeats."""
        return int(self.frame["made"].sum())

    @property
    def unparsed(self) -> int:
        """Verdicts that could not be read, of all repeats."""
        return int(self.frame["unparsed"].sum())

    @property
    def scores(self) -> Floats:
        """The score of every row (N), nan where no verdict could be read."""
        return np.asarray(self.frame["score"], np.float64)

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Which rows (N) are the reference."""
        return np.asarray(self.frame["exact_match"] == 1.0)

    def metrics(self) -> dict[str, float]:
        """Return the figures by name; one that is undefined is left out.

        Mean, median and interval of the score are over the rows with a score: a row none of whose verdicts could be
        read is in none of them, and in `unparsed_share`, which is of all verdicts. Rows are what the bootstrap draws,
        each with the mean of its repeats. Lexical measures are over all rows.
        """
        found = evaluated(RESPONSES, self.frame)
        for metric in (each for each in RESPONSES if each.interval == "bootstrap"):
            # Sorted, so that the same scores have the same interval in whatever order they come.
            known = self.frame[[metric.name]].dropna().sort_values(metric.name)
            if len(known):
                found |= bootstrap_intervals([metric], known, 1)
        return found

    def histogram(self) -> pd.DataFrame:
        """Return the rows by score in steps of 10 (`low`, `high`, `rows`); 100 is in the last.

        The last line has no `low` and `high`: it counts the rows without a score.
        """
        known = self.scores[~np.isnan(self.scores)]
        rows, edges = np.histogram(known, np.arange(0, HIGHEST + STEP, STEP, dtype=np.float64))
        lacking = len(self.frame) - len(known)
        table = {"low": [*edges[:-1], np.nan], "high": [*edges[1:], np.nan], "rows": [*rows, lacking]}
        return pd.DataFrame(table)


def read_verdicts(path: Path, rows: "pd.Series[int]") -> dict[str, Verdicts]:
    """Return a judge's verdicts by whose responses they are on (`model`, `start`, `reference`), in the order of `rows`.

    Args:
        path: `verdicts.parquet` of the step `judge`: `of`, `row`, `repeat`, `score`, `reason`, `status` and the
            lexical measures.
        rows: the rows (N) to say something of; each must have a verdict, read or not.

    Raises:
        ValueError: if a row has none.
    """
    frame = pd.read_parquet(path)
    return {str(of): _by_row(part, rows, str(of)) for of, part in frame.groupby("of", sort=False)}


def _by_row(verdicts: pd.DataFrame, rows: "pd.Series[int]", of: str) -> Verdicts:
    # Verdicts that could be read come first, so that `first` takes a reason and measures from one of them.
    read_first = verdicts[verdicts["row"].isin(rows)].assign(unread=verdicts["status"] != SCORED)
    grouped = read_first.sort_values(["unread", "repeat"], kind="stable").groupby("row")
    frame = grouped[["reason", "status", *LEXICAL]].first()
    frame["score"], frame["spread"] = grouped["score"].mean(), grouped["score"].std(ddof=1)
    frame["made"], frame["unparsed"] = grouped.size(), (verdicts["status"] == UNPARSED).groupby(verdicts["row"]).sum()
    missing = ~rows.isin(frame.index)
    if missing.any():
        raise ValueError(f"{int(missing.sum())} of {len(rows)} rows have no verdict on the {of}'s response")
    return Verdicts(frame.reindex(rows).rename_axis("row").reset_index())
