"""Which test rows two instruction runs have in common, and which judge has scored both (`responses.parquet`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from components.errors import NotComparable
from components.evaluation.metrics import Ids
from components.evaluation.verdicts import LEXICAL, read_verdicts
from components.records import Facts, fingerprint

Floats = NDArray[np.float64]

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

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Judge":
        """Return the judge that the facts of the step `judge` tell of."""
        told = facts["judge"]
        fields = (told["name"], told["is_language_model"], told["kind"], told["model"], told["digest"])
        return cls(*fields, rubric=facts.get("rubric"))

    @property
    def measure(self) -> str | None:
        """The lexical measure that its scores are, if they are one."""
        return "chrf" if self.kind == "lexical" else None

    @property
    def identity(self) -> str:
        """Equal for judges whose scores mean the same: kind, model, its digest, and the rubric."""
        return fingerprint([self.kind, self.model, self.digest, self.rubric])


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

    @property
    def rows(self) -> int:
        """How many rows can be compared."""
        return len(self.first)

    @property
    def same_test_set(self) -> bool:
        """Whether both were tested on the very same rows."""
        return self.in_first == self.in_second == self.rows


def read_answers(responses: Path, judge: Facts, others: Mapping[Path, Facts]) -> Answers:
    """Read what a run answered.

    Args:
        responses: `responses.parquet` of the step `evaluate`.
        judge: the facts of the step `judge`.
        others: the facts of later judgings by the `verdicts.parquet` of each.

    Raises:
        NotComparable: if a file is not what it should be.
    """
    try:
        table = pd.read_parquet(responses, columns=list(NEEDED))
        own = Judge.of(judge)
        scores = {own.identity: np.asarray(table["score"], np.float64)}
        judges = {own.identity: own}
        for path, facts in others.items():
            other = Judge.of(facts)
            judges.setdefault(other.identity, other)
            scores.setdefault(other.identity, read_verdicts(path, table["row"])["model"].scores)
    except (pa.ArrowInvalid, OSError, ValueError, KeyError, TypeError) as error:
        raise NotComparable(f"{responses.name} or its verdicts cannot be read: {error}") from error
    text = table[list(KEY)].astype(object).fillna("")
    keys = pd.util.hash_pandas_object(text, index=False).to_numpy().astype(np.uint64)
    return Answers(keys, table[list(LEXICAL)], scores, judges)


def pair_answers(first: Answers, second: Answers) -> AnswerPairs:
    """Match the test rows of two runs by instruction, input and reference; a row that stands twice is matched twice.

    If several judges have scored both, it is the first run's own, else the second run's own, else any.

    Raises:
        OtherJudge: if none has scored both.
        NotComparable: if no row is the same.
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
    own = [next(iter(each.judges)) for each in (first, second)]
    chosen = next((identity for identity in own if identity in both), both[0])
    one, two = (matched[f"row_{side}"].to_numpy(np.int64) for side in ("first", "second"))
    return AnswerPairs(
        first.judges[chosen], _taken(first, one, chosen), _taken(second, two, chosen), len(first), len(second)
    )


def _keys(answers: Answers) -> pd.DataFrame:
    """Return key and position of every row, and the how manieth of its kind it is."""
    keys = pd.DataFrame({"key": answers.keys, "row": np.arange(len(answers))})
    keys["copy"] = keys.groupby("key").cumcount()
    return keys


def _taken(answers: Answers, rows: Ids, judge: str) -> pd.DataFrame:
    return answers.measures.assign(score=answers.scores[judge]).iloc[rows].reset_index(drop=True)
