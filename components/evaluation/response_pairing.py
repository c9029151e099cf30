"""Which test rows two instruction runs have in common, and which judge has scored both (`responses.parquet`)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from components.core.errors import NotComparable
from components.core.records import Facts, fingerprint
from components.evaluation.metrics import Ids
from components.evaluation.pairing import or_before
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
        told = facts["judge"]
        fields = (told["name"], told["is_language_model"], told["kind"], told["model"], told["digest"])
        control = facts.get("control")
        settings = fingerprint(told["settings"]) if told.get("settings") else ""
        return cls(*fields, facts.get("rubric"), settings, bool(control["tells"]) if control else None)

    @property
    def measure(self) -> str | None:
        """The lexical measure that its scores are, if they are one."""
        return "chrf" if self.kind == "lexical" else None

    @property
    def identity(self) -> str:
        """Equal for judges whose scores mean the same: kind, model, its digest, the rubric, and the settings."""
        return fingerprint([self.kind, self.model, self.digest, self.rubric, self.settings])


@dataclass(frozen=True)
class Answers:
    """What a run answered to its N test rows, and what judges said of it."""

    keys: NDArray[np.uint64]
    """Equal for equal instruction, input and reference (N)."""
    measures: pd.DataFrame
    """The lexical measures (N rows)."""
    scores: Mapping[str, Floats]
    """The scores (N) by the judge's identity, nan where there is none."""
    judges: Mapping[str, Judge]
    """The judges by identity, the run's own first."""
    start: Mapping[str, Floats]
    """The scores (N) of the starting model's responses, likewise."""
    folded: Hashes
    """Equal for rows whose instruction and input count as the same (N)."""
    learned: Hashes | None = None
    """The same of the training rows, each once; None if they are not known."""
    ancestry: Ancestry = NO_ANCESTRY
    """What the models that the run's goes on from learned from."""

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class AnswerPairs:
    """Two runs' responses to the same M rows, and the scores that one judge gave them."""

    judge: Judge
    first: pd.DataFrame
    """`score` and the lexical measures (M rows); a score is nan where there is none."""
    second: pd.DataFrame
    in_first: int
    """Test rows of the first run."""
    in_second: int
    common: int
    """Test rows of both, some of which one of the two may have learned from."""
    by_ancestors: int = 0
    """Common rows that neither has learned from, but a model that one of the two goes on from."""
    ancestry: tuple[Ancestry, Ancestry] = (NO_ANCESTRY, NO_ANCESTRY)
    """What the models that each of the two goes on from learned from."""
    learned_known: tuple[bool, bool] = (True, True)
    """Whether it is known of each what it learned from."""

    @property
    def rows(self) -> int:
        """How many rows can be compared."""
        return len(self.first)

    @property
    def same_test_set(self) -> bool:
        """Whether both were tested on the very same rows."""
        return self.in_first == self.in_second == self.common


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
            said = read_verdicts(path, table["row"])
            judges[other.identity], scores[other.identity] = other, said["model"].scores
            start[other.identity] = said["start"].scores if "start" in said else np.full(len(table), np.nan)
    except (pa.ArrowInvalid, OSError, ValueError, KeyError, TypeError) as error:
        raise NotComparable(f"{responses.name} or its verdicts cannot be read: {error}") from error
    text = table[list(KEY)].astype(object).fillna("")
    keys = pd.util.hash_pandas_object(text, index=False).to_numpy().astype(np.uint64)
    tasks = fold(text["instruction"], text["input"]) if fold else None
    folded = keys if tasks is None else pd.util.hash_array(tasks, categorize=False)
    return Answers(keys, table[list(LEXICAL)], scores, judges, start, folded, learned, ancestry)


def pair_answers(first: Answers, second: Answers) -> AnswerPairs:
    """Match the test rows of two runs by instruction, input and reference; a row that stands twice is matched twice.

    Rows whose instruction and input either has learned from, or a model that it goes on from, are left out.
    If several judges have scored both, it is the first run's own, else the second run's own, else any; one that cannot
    tell a right response from a wrong one only where there is no other.

    Raises:
        OtherJudge: if none has scored both.
        NotComparable: if no row is the same, or none is left.
    """
    both = [
        identity
        for identity in (*first.judges, *second.judges)
        if identity in first.judges and identity in second.judges
    ]
    if not both:
        names = [next(iter(each.judges.values())).name for each in (first, second)]
        raise OtherJudge(
            f"the first was judged by {names[0]} and the second by {names[1]}, whose scores mean other things"
        )
    matched = _keys(first).merge(_keys(second), on=["key", "copy"], suffixes=("_first", "_second"))
    if matched.empty:
        raise NotComparable(f"of {len(first):,} and {len(second):,} test rows none is the same")
    judges = {identity: _told_of(first.judges[identity], second.judges[identity]) for identity in both}
    own = [next(iter(each.judges)) for each in (first, second)]
    chosen = min(both, key=lambda identity: (judges[identity].tells is False, identity not in own))
    one, two = (matched[f"row_{side}"].to_numpy(np.int64) for side in ("first", "second"))
    folded = first.folded[one]
    known = [NONE if each.learned is None else each.learned for each in (first, second)]
    learned = np.isin(folded, np.concatenate(known))
    before = np.isin(folded, np.concatenate([first.ancestry.rows, second.ancestry.rows])) & ~learned
    unseen = ~learned & ~before
    if not unseen.any():
        raise NotComparable(
            f"all {len(one):,} test rows that both have stand in the training data of one of the two{or_before(before)}"
        )
    return AnswerPairs(
        judges[chosen],
        _taken(first, one[unseen], chosen),
        _taken(second, two[unseen], chosen),
        len(first),
        len(second),
        len(one),
        int(before.sum()),
        (first.ancestry, second.ancestry),
        (first.learned is not None, second.learned is not None),
    )


def _told_of(judge: Judge, again: Judge) -> Judge:
    """Return a judge that cannot tell if it could not tell once."""
    known = [each.tells for each in (judge, again) if each.tells is not None]
    return replace(judge, tells=all(known) if known else None)


def _keys(answers: Answers) -> pd.DataFrame:
    """Return key and position of every row, and the how manieth of its kind it is."""
    keys = pd.DataFrame({"key": answers.keys, "row": np.arange(len(answers))})
    keys["copy"] = keys.groupby("key").cumcount()
    return keys


def _taken(answers: Answers, rows: Ids, judge: str) -> pd.DataFrame:
    return answers.measures.assign(score=answers.scores[judge]).iloc[rows].reset_index(drop=True)
