"""The responses that a run has left of its test rows (`responses.parquet`), paired with another run's by one judge."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from components.conversations import HISTORY, with_history
from components.core.errors import NotComparable
from components.core.records import Facts, fingerprint
from components.evaluation.labelled import Ids
from components.evaluation.paired.matching import Pairs, RunRows, match_rows
from components.evaluation.verdicts import LEXICAL, read_verdicts
from components.learned import NO_ANCESTRY, NONE, Ancestry, Hashes

Floats = NDArray[np.float64]
FoldTasks = Callable[[Iterable[str], Iterable[str]], NDArray[np.object_]]

KEY = ("instruction", "input", "reference")
"""What makes a row the same row."""
NEEDED = ("row", *KEY, "score", *LEXICAL)


class OtherJudge(NotComparable):
    """No judge has scored the responses of both runs."""


@dataclass(frozen=True)
class Judge:
    """Who gave scores: what they depend on, and what to call it."""

    name: str
    is_language_model: bool
    kind: str
    model: str | None
    digest: str | None
    rubric: int | None
    settings: str = ""
    """A hash of its settings, empty for the defaults: a judge that thinks scores otherwise than one that does not."""
    tells: bool | None = field(default=None, compare=False)
    """Whether it gave another row's reference clearly less than a row's own; None if it was not asked to."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Judge":
        """Return the judge that the facts of the step `judge` tell of."""
        judge, control = facts["judge"], facts.get("control")
        fields = {name: judge[name] for name in ("name", "is_language_model", "kind", "model", "digest")}
        settings = fingerprint(judge["settings"]) if judge.get("settings") else ""
        tells = bool(control["tells"]) if control else None
        return cls(**fields, rubric=facts.get("rubric"), settings=settings, tells=tells)

    @property
    def measure(self) -> str | None:
        """The lexical measure that its scores are, if they are one."""
        return "chrf" if self.kind == "lexical" else None

    @property
    def identity(self) -> str:
        """Equal for judges whose scores mean the same: kind, model, its digest, the rubric, and the settings."""
        return fingerprint([self.kind, self.model, self.digest, self.rubric, self.settings])


@dataclass(frozen=True, kw_only=True)
class Answers(RunRows):
    """What a run answered to its N test rows, and the scores that judges gave."""

    measures: pd.DataFrame
    """The lexical measures (N rows)."""
    scores: Mapping[str, Floats]
    """The scores (N) by the judge's identity, nan where there is none."""
    judges: Mapping[str, Judge]
    """The judges by identity, the run's own first."""
    start: Mapping[str, Floats]
    """The scores (N) of the starting model's responses, likewise."""
    overlap: int | None = None
    """How many of the rows stand in the training data as well, but for case, digits or blanks; None: not known."""

    @property
    def own_judge(self) -> Judge:
        """The judge that the run itself has asked."""
        return next(iter(self.judges.values()))


@dataclass(frozen=True, kw_only=True)
class AnswerPairs(Pairs[pd.DataFrame]):
    """Two runs' responses to the same M rows, and the scores that one judge gave them.

    A table has `score` and the lexical measures (M rows); a score is nan where there is none.
    """

    runs: tuple[Answers, Answers]
    judge: Judge

    @property
    def overlap(self) -> tuple[int | None, int | None]:
        """`Answers.overlap` of each run, of all its test rows."""
        return self.runs[0].overlap, self.runs[1].overlap

    @property
    def unscored(self) -> tuple[int, int]:
        """How many rows of each have no score."""
        return int(self.first["score"].isna().sum()), int(self.second["score"].isna().sum())


def read_answers(
    responses: Path,
    judge: Facts,
    others: Mapping[Path, Facts],
    fold: FoldTasks | None = None,
    learned: Hashes | None = None,
    ancestry: Ancestry = NO_ANCESTRY,
) -> Answers:
    """Read what a run answered.

    Args:
        responses: `responses.parquet` of the step `evaluate`.
        judge: the facts of the step `judge`.
        others: the facts of later judgings by the `verdicts.parquet` of each.
        fold: brings instructions with inputs that count as the same into one form; without it rows count as the same
            where they are.
        learned: the training rows, in that form; None if they are not known.
        ancestry: what the models before it learned from.

    Raises:
        NotComparable: if a file is not what it should be.
    """
    try:
        table = pd.read_parquet(responses)
        if lacking := set(NEEDED) - set(table):
            raise KeyError(*sorted(lacking))
        own = Judge.of(judge)
        scores = {own.identity: np.asarray(table["score"], np.float64)}
        start = {own.identity: np.asarray(table.get("start_score", np.nan * table["score"]), np.float64)}
        judges = {own.identity: own}
        for path, facts in others.items():
            other = Judge.of(facts)
            if other.identity in judges:
                continue
            verdicts = read_verdicts(path, table["row"])
            judges[other.identity], scores[other.identity] = other, verdicts["model"].scores
            start[other.identity] = verdicts["start"].scores if "start" in verdicts else np.full(len(table), np.nan)
    except (pa.ArrowInvalid, OSError, ValueError, KeyError, TypeError) as error:
        raise NotComparable(f"{responses.name} or its verdicts cannot be read: {error}") from error
    text = table[list(KEY)].astype(object).fillna("")
    if HISTORY in table:
        text["instruction"] = with_history(text["instruction"], table[HISTORY].astype(object).fillna(""))
    keys = pd.util.hash_pandas_object(text, index=False).to_numpy().astype(np.uint64)
    return Answers(
        keys=keys,
        folded=pd.util.hash_array(fold(text["instruction"], text["input"]), categorize=False) if fold else keys,
        learned=NONE if learned is None else learned,
        learned_known=learned is not None,
        ancestry=ancestry,
        measures=table[list(LEXICAL)],
        scores=scores,
        judges=judges,
        start=start,
    )


def pair_answers(first: Answers, second: Answers) -> AnswerPairs:
    """Match the test rows of two runs by instruction, input and reference, as `match_rows` says.

    If several judges have scored both, it is the first run's own, else the second run's own, else any; one that cannot
    tell a right response from a wrong one only where there is no other.

    Raises:
        OtherJudge: if none has scored both.
        NotComparable: if no row is the same, or none is left.
    """
    judges = {}
    for identity in (each for each in first.judges if each in second.judges):
        known = [run.judges[identity].tells for run in (first, second) if run.judges[identity].tells is not None]
        # One that could not tell right from wrong once cannot tell.
        judges[identity] = replace(first.judges[identity], tells=all(known) if known else None)
    if not judges:
        raise OtherJudge(
            f"the first was judged by {first.own_judge.name} and the second by {second.own_judge.name}, whose scores "
            "mean other things"
        )
    own = [each.own_judge.identity for each in (first, second)]
    chosen = min(judges, key=lambda identity: (judges[identity].tells is False, identity not in own))

    def take(run: Answers, rows: Ids) -> pd.DataFrame:
        return run.measures.assign(score=run.scores[chosen]).iloc[rows].reset_index(drop=True)

    pairs = match_rows(first, second, take)
    return AnswerPairs(**vars(pairs), judge=judges[chosen])
