"""What a measurement of a candidate beside another model says for it or against it."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from components.evaluation.paired.non_inferiority import FEWEST_ROWS, ONE
from components.tracking.reading import Registered
from pipelines.kind import Candidate, Measured

REMEDY = "test on more rows: more data, or a larger split.fractions.test"


class Reference(BaseModel):
    """What a candidate was measured against, and how it did; accuracies are shares, scores are of a hundred."""

    name: str
    version: str | None
    """None for a baseline."""
    rows: int
    candidate: float
    reference: float
    difference: float
    interval: tuple[float, float]
    """95 %"""
    good_enough: bool
    rows_needed: int | None
    """About how many rows would show that two that are equally good are, or a difference such as this one."""
    judge: str = ""
    """Whose scores they are; nothing for shares of right ones."""
    judge_tells: bool | None = None
    """Whether the judge can tell a right response from a wrong one; None: not checked, or there is none."""
    unscored: float = 0.0
    """Share of the rows of which the candidate has no score."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for a candidate or against it."""

    enough: bool | None
    """None: it could not be measured."""
    sentence: str
    references: tuple[Reference, ...] = ()
    detail: str = ""
    """What else the comparison that decides says, in sentences."""


def name_of(version: Registered) -> str:
    """Return what to call a candidate in a sentence."""
    return f"the new model (version {version.number})"


def judged(measured: Measured, margin: float, candidate: str, name: str, version: str | None) -> Evidence:
    """Return what a comparison with a reference comes to, than which a candidate may be `margin` worse; 0: better."""
    each = measured.difference
    enough = each.not_worse(margin)
    reference = Reference(
        name=name,
        version=version,
        rows=each.rows,
        candidate=each.candidate,
        reference=each.reference,
        difference=each.value,
        interval=(each.low, each.high),
        good_enough=enough,
        rows_needed=each.rows_needed(margin),
        judge=measured.by,
        judge_tells=measured.tells,
        unscored=measured.unscored,
    )
    sentence = f"{described(measured, margin, candidate, name)}."
    return Evidence(enough, sentence, (reference,), measured.detail if enough else "")


def described(found: Measured, margin: float, candidate: str, reference: str) -> str:
    """Say in plain words what was measured, whether it is good enough, and what would be needed if not."""
    each = found.difference
    needed = each.rows_needed(margin) if each.rows else None
    if each.rows < FEWEST_ROWS:
        about = f" (about {needed:,} would show it of two that are equally good)" if needed and margin else ""
        return (
            f"{each.rows:,} rows can be compared with {reference}, and fewer than {FEWEST_ROWS} are no "
            f"evidence{about}; {REMEDY}"
        )
    if found.by:
        means = f"{candidate} scores {each.candidate:.1f} and {reference} {each.reference:.1f} by {found.by}"
    else:
        means = f"{candidate} is right on {each.candidate:.1%} and {reference} on {each.reference:.1%}"
    to_points = 100 if each.highest == ONE else 1
    value, low, high = (f"{to_points * end:+.1f}" for end in (each.value, each.low, each.high))
    points = to_points * margin
    wanted = f"less than {points:g} point{'' if points == 1 else 's'} worse" if margin else "better"
    if each.not_worse(margin):
        outcome = "it is better" if each.low > 0 else f"it is {wanted}"
    elif needed is None:
        outcome = f"it is not {wanted}"
    else:
        of_whom = "two that are equally good" if margin else "a difference such as this one"
        enough = "would be enough" if needed <= each.rows else "would be needed"
        outcome = f"it is not shown to be {wanted}; about {needed:,} rows {enough} to show it of {of_whom}"
    figures = f"{means} (difference {value} points, 95 % {low} to {high})"
    return "; ".join([f"On {found.rows} {figures}: {outcome}", *found.notes])


def tested_rows(candidate: Candidate[Any]) -> str:
    """Name the rows that a candidate is measured on."""
    rows, of = int(candidate.counted.sum()), len(candidate.rows)
    return f"the {rows:,} test rows" if rows == of else f"{rows:,} of the {of:,} test rows, which none was trained on,"
