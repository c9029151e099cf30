"""People's ratings of a run's responses, from a file or given in MLflow's page, and how far judges agree with them."""

import getpass
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from components.conversations import HISTORY, as_transcript, read_history
from components.core.errors import ConfigError, TableError
from components.evaluation.paired.response_pairing import Answers
from components.evaluation.ratings import FEW, Floats, Kappa, cohen_kappa, good
from components.tracking.ratings import Rating, Response, offer, rate, rating_of, read_ratings
from components.tracking.reading import RecordedRun
from pipelines.comparing.answered import answered_run
from pipelines.comparing.people import mean_ratings
from pipelines.kind import kind_of, rows_of

COLUMNS = ("row", "rating")
"""What a file of ratings must have; `rater` and `comment` may be there."""
READ: Mapping[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False),
    ".tsv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False, sep="\t"),
    ".json": lambda path: pd.read_json(path, dtype=False),
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
    ".parquet": pd.read_parquet,
}
OTHER_SCALE = 5
"""Where all ratings are at most this, they are stars, or ones and zeros, and not of a hundred."""
WHOLE = re.compile(r"\s*\d+(\.0+)?\s*")


class RatingResult(BaseModel):
    """What `gradus rate` did, and what `--json` prints."""

    run_id: str
    responses: int
    offered: int
    """Responses that have got a trace by this."""
    changed: int
    """Ratings that are new or other than before."""
    ratings: int
    """All that the run has by now."""
    rated: int
    """Responses with a rating."""
    people: int
    """Who gave them."""


class JudgeAgreement(BaseModel):
    """How far a judge's scores call the same responses good that people do."""

    judge: str
    rows: int
    """Rated rows with a score by this judge."""
    agreement: Kappa
    longer: Kappa
    """Of calling the longer half of these responses good."""


class RatingsReport(BaseModel):
    """What `gradus judge RUN --ratings` found out, and what `--json` prints."""

    run_id: str
    rated: int
    people: int
    mean: float
    """Mean rating, from 0 to 100."""
    good_share: float
    """Share of the rated responses whose mean rating is good (`components.evaluation.ratings.GOOD`)."""
    judges: list[JudgeAgreement]
    warnings: list[str] = []


def rate_run(address: str, file: Path | None, by: str | None, home: Path) -> RatingResult:
    """Keep people's ratings of a run's responses in MLflow, and make a trace of each response that has none.

    With a file only the responses in it get a trace; without one all do, so that they can be rated in MLflow's page.
    Everything in the file is checked before anything is written.

    Args:
        address: a run or a model, as in `components.tracking.reading`.
        file: a table with `row` (as in `responses.parquet`) and `rating`: a number from 0 to 100, or good or bad.
        by: whose ratings they are, where the file has no `rater`; by default the user's name.
        home: the folder of the local store.

    Raises:
        ConfigError: if there is no such file.
        TableError: if it is no such table, naming the line.
        JudgeError: if the run has no responses.
        TrackingError: if there is no such run, or the store cannot be read or written.
    """
    found = answered_run(address, home)
    rows = found.responses
    ratings = _read(file, by or getpass.getuser(), set(rows["row"].tolist()), found.run) if file else []
    wanted = rows[rows["row"].isin([rating.row for rating in ratings])] if file else rows
    offered = offer(found.run.run_id, [response_of(row) for row in wanted.to_dict("records")], home)
    changed = rate(found.run.run_id, ratings, home)
    there = read_ratings(found.run.run_id, home)
    return RatingResult(
        run_id=found.run.run_id,
        responses=len(rows),
        offered=offered,
        changed=changed,
        ratings=len(there),
        rated=len({each.row for each in there}),
        people=len({each.by for each in there}),
    )


def ratings_report(address: str, home: Path) -> RatingsReport:
    """Return how far each judge that has scored a run's responses agrees with the people who have rated them.

    Raises:
        ConfigError: if nobody has rated any.
        JudgeError: if the run has no responses.
        NotComparable: if the responses cannot be read.
        TrackingError: if there is no such run, or the store cannot be read.
    """
    found = answered_run(address, home)
    run, ratings = found.run, read_ratings(found.run.run_id, home)
    if not ratings:
        raise ConfigError(
            f"nobody has rated responses of run {run.run_id[:8]}: `gradus rate {run.run_id[:8]} --file ratings.csv` "
            "brings ratings in"
        )
    answers: Answers = rows_of(run, kind_of(run), home)
    means = mean_ratings(ratings, found.responses["row"])
    lengths = np.asarray(found.responses["response"].fillna("").str.len(), np.float64)
    judges = [_agreement(judge.name, means, answers.scores[of], lengths) for of, judge in answers.judges.items()]
    known = means[~np.isnan(means)]
    few = f"{len(known):,} rated responses are few: from {FEW} on the intervals say something"
    return RatingsReport(
        run_id=run.run_id,
        rated=len(known),
        people=len({each.by for each in ratings}),
        mean=float(known.mean()),
        good_share=float(good(known).mean()),
        judges=[each for each in judges if each],
        warnings=[few] if len(known) < FEW else [],
    )


def _agreement(name: str, ratings: Floats, scores: Floats, lengths: Floats) -> JudgeAgreement | None:
    known = ~np.isnan(ratings) & ~np.isnan(scores)
    if not known.any():
        return None
    people, longer = good(ratings[known]), lengths[known] > np.median(lengths[known])
    return JudgeAgreement(
        judge=name,
        rows=int(known.sum()),
        agreement=cohen_kappa(people, good(scores[known])),
        longer=cohen_kappa(people, longer),
    )


def response_of(row: Mapping[Any, Any], column: str = "response") -> Response:
    """Return what stands in a row of `responses.parquet`, of whose responses `column` holds."""
    asked = {name: str(row[name]) for name in ("instruction", "input") if row.get(name)}
    if isinstance(history := row.get(HISTORY), str):
        asked = {HISTORY: as_transcript(read_history(history))} | asked
    return Response(int(str(row["row"])), asked, str(row[column] or ""))


def _read(file: Path, by: str, rows: set[int], run: RecordedRun) -> list[Rating]:
    """Return the ratings in a file."""
    if not file.is_file():
        raise ConfigError(f"--file {file}: there is no such file")
    if file.suffix.lower() not in READ:
        raise ConfigError(f"--file {file}: ratings are read from {', '.join(READ)}")
    try:
        table = READ[file.suffix.lower()](file)
    except (ValueError, OSError) as error:
        raise TableError(f"{file} cannot be read as a table of ratings: {' '.join(str(error).split())}") from error
    if lacking := [name for name in COLUMNS if name not in table]:
        there = ", ".join(map(str, table.columns)) or "none"
        raise TableError(f"{file} has no column {lacking[0]}; it has {there}, and needs row and rating")
    if table.empty:
        raise TableError(f"{file} holds no ratings")
    table = table.astype(object).where(table.notna(), None)  # NaN is truthy, and would be the name of a rater
    records = enumerate(table.to_dict("records"), start=1)
    ratings = [_rating(file, line, cells, by, rows, run) for line, cells in records]
    if len(ratings) > 1 and 0 < (most := max(each.value for each in ratings)) <= OTHER_SCALE:
        raise TableError(
            f"{file}: no rating is above {most:g}, and they go to 100: is it another scale? good and bad do too"
        )
    return ratings


def _rating(file: Path, line: int, cells: Mapping[Any, Any], by: str, rows: set[int], run: RecordedRun) -> Rating:
    where, row, value = f"{file}, rating {line}", str(cells["row"]), rating_of(cells["rating"])
    if not WHOLE.fullmatch(row) or int(float(row)) not in rows:
        raise TableError(
            f"{where}: run {run.run_id[:8]} has no response to row {row!r}; take the rows of responses.parquet"
        )
    if value is None:
        raise TableError(f"{where}: {cells['rating']!r} is no rating; give a number from 0 to 100, or good or bad")
    rater, comment = (str(cells.get(name) or "").strip() for name in ("rater", "comment"))
    return Rating(int(float(row)), value, rater or by, comment)
