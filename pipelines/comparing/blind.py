"""Responses of two models to the same entries, rated by somebody who is not told which model wrote which.

Who knows whose a response is, or where it stands, rates that too; so the entries come in an order that is drawn, and
so do the responses to each.
"""

import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from components.conversations import HISTORY, read_history
from components.core.errors import ConfigError, NotComparable
from components.tracking.ratings import MODEL, START, Rating, Response, offer, rate, rating_of, read_ratings
from pipelines.comparing.answered import AnsweredRun, answered_run
from pipelines.comparing.people import mean_ratings
from pipelines.comparing.rating import response_of

ASKED = ("instruction", "input", HISTORY)
"""Columns that two rows have alike where they are the same entry."""


@dataclass(frozen=True)
class Author:
    """Who wrote responses: the model of a run, or the one that its training started from."""

    run_id: str
    name: str
    of: str = MODEL
    """`MODEL` or `START`, as in `components.tracking.ratings`."""


@dataclass(frozen=True)
class Written:
    """A response, and the verdict on it."""

    author: Author
    response: Response
    score: float | None
    """Of the run's judge, 0 to 100; None: there is none."""
    reason: str


@dataclass(frozen=True)
class Asked:
    """An entry with all responses to it, in the order in which they are shown."""

    instruction: str
    input: str
    turns: list[Mapping[str, Any]]
    """What was said before, if it is one of several turns."""
    reference: str
    written: list[Written]


@dataclass
class Round:
    """The entries that one person rates, one after the other."""

    by: str
    asked: list[Asked]
    """In the order in which they come."""
    done: int = 0
    """How many of them are rated, or left out, by now."""
    rated: int = 0
    """Entries that this person had rated before, of all `total`."""
    total: int = 0
    names: list[str] = field(default_factory=list)
    """Of the authors, in no order."""

    @property
    def now(self) -> Asked | None:
        """The entry to rate; None when there is none left."""
        return self.asked[self.done] if self.done < len(self.asked) else None


def begin(address: str, beside: str | None, by: str, home: Path, seed: int | None = None) -> Round:
    """Return the entries of a run that somebody has not rated yet, in an order that is drawn.

    Args:
        address: a run or a model, as in `components.tracking.reading`.
        beside: another one, whose responses to the same entries are rated as well; None: those of the model that the
            run's training started from, where they are known.
        by: who rates.
        home: the folder of the local store.
        seed: of the order.

    Raises:
        ConfigError: if nobody is named, or both runs are the same.
        JudgeError: if a run has no responses.
        NotComparable: if the two runs were asked nothing in common.
        TrackingError: if there is no such run, or the store cannot be read.
    """
    if not by.strip():
        raise ConfigError("say who rates: somebody's rating replaces the one that the same person gave before")
    first = answered_run(address, home)
    entries = _beside_start(first) if beside is None else _beside_run(first, answered_run(beside, home))
    authors = {written.author: written.author.name for each in entries for written in each.written}
    known = {
        author: {each.row for each in read_ratings(author.run_id, home, author.of) if each.by == by.strip()}
        for author in authors
    }
    left = [each for each in entries if any(w.response.row not in known[w.author] for w in each.written)]
    draw = random.Random(seed)
    draw.shuffle(left)
    for each in left:
        draw.shuffle(each.written)
    return Round(by.strip(), left, 0, len(entries) - len(left), len(entries), sorted(authors.values()))


def keep(of: Round, ratings: Sequence[Any], comment: str, home: Path) -> Asked:
    """Keep ratings of the responses that are shown, as `gradus rate` does, and go on; return what they were of.

    Args:
        of: the round.
        ratings: a rating for each response, in the order shown: 0 to 100, or a word such as `good`; None: none.
        comment: what the person adds.
        home: the folder of the local store.

    Raises:
        ConfigError: if there is nothing to rate, or no rating.
        TrackingError: if the store cannot be written.
    """
    asked = of.now
    if asked is None:
        raise ConfigError("there is no response to rate: begin anew")
    values = [rating_of(each) for each in ratings[: len(asked.written)]]
    if None in values or len(values) < len(asked.written):
        raise ConfigError("rate each response first, from 0 to 100")
    for written, value in zip(asked.written, values, strict=True):
        author, row = written.author, written.response.row
        offer(author.run_id, [written.response], home, author.of)
        rate(author.run_id, [Rating(row, float(value or 0), of.by, comment.strip())], home, author.of)
    of.done, of.rated = of.done + 1, of.rated + 1
    return asked


def skip(of: Round) -> None:
    """Leave the entry that is shown out; a new round has it again."""
    of.done = min(of.done + 1, len(of.asked))


def verdicts(address: str, home: Path) -> pd.DataFrame:
    """Return a run's responses (N) with the judge's verdicts and people's ratings, the worst score first.

    Columns: `row`, `instruction`, `input`, `response`, `score`, `reason`, `people` (the mean rating, nan without one),
    `reference`.

    Raises:
        JudgeError: if the run has no responses.
        TrackingError: if there is no such run, or the store cannot be read.
    """
    found = answered_run(address, home)
    table = found.responses
    people = mean_ratings(read_ratings(found.run.run_id, home), table["row"])
    columns = ["row", "instruction", "input", "response", "score", "reason", "people", "reference"]
    return table.assign(people=people)[columns]


def _beside_start(found: AnsweredRun) -> list[Asked]:
    """Return a run's entries, with what its own model wrote and what the one wrote that it started from."""
    name = f"run {found.run.run_id[:8]}"
    own = Author(found.run.run_id, f"{name}, fine-tuned")
    start = Author(found.run.run_id, f"{name}, before training", START)
    knows_start = found.responses["start_response"].notna().any()
    return [_asked(row, [_written(row, own), *([_written(row, start)] if knows_start else [])]) for row in _rows(found)]


def _beside_run(first: AnsweredRun, second: AnsweredRun) -> list[Asked]:
    """Return the entries that both runs were asked, with what each of the two models wrote."""
    if first.run.run_id == second.run.run_id:
        raise ConfigError("both runs are the same; choose another one beside it, or none")
    authors = [Author(each.run.run_id, each.run.title) for each in (first, second)]
    others = {_key(row): row for row in _rows(second)}
    pairs = [(row, others[_key(row)]) for row in _rows(first) if _key(row) in others]
    if not pairs:
        raise NotComparable(
            f"runs {first.run.run_id[:8]} and {second.run.run_id[:8]} were asked nothing in common; choose two on the "
            "same source and split"
        )
    return [_asked(row, [_written(row, authors[0]), _written(other, authors[1])]) for row, other in pairs]


def _rows(found: AnsweredRun) -> list[dict[Hashable, Any]]:
    """Return the rows of `responses.parquet`, with None where a cell has nothing."""
    table = found.responses.astype(object)
    return table.where(table.notna(), None).to_dict("records")


def _key(row: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(str(row.get(name) or "") for name in ASKED)


def _asked(row: Mapping[Any, Any], written: list[Written]) -> Asked:
    turns = read_history(row.get(HISTORY))
    return Asked(str(row["instruction"]), str(row["input"] or ""), turns, str(row["reference"]), written)


def _written(row: Mapping[Any, Any], author: Author) -> Written:
    before = author.of == START
    score = row["start_score" if before else "score"]
    response = response_of(row, "start_response" if before else "response")
    reason = "" if before else str(row.get("reason") or "")
    return Written(author, response, None if score is None else float(score), reason)
