"""What speaks for a candidate: how it did beside a reference on the same rows, and whether that is good enough."""

from dataclasses import dataclass

from components.evaluation.paired.non_inferiority import FEWEST_ROWS, ONE, Difference

REMEDY = "test on more rows: more data, or a larger split.fractions.test"


@dataclass(frozen=True)
class Measured:
    """A candidate and a reference on the same rows."""

    difference: Difference
    rows: str
    """Which rows they are, in words."""
    by: str = ""
    """Whose scores they are, in words; nothing for shares of right ones."""
    notes: tuple[str, ...] = ()
    """What speaks against the figures, one clause each."""
    anew: bool = False
    """Whether the reference was run for it."""
    detail: str = ""
    """What else a comparison of the two says, in sentences."""


def told(found: Measured, margin: float, candidate: str, reference: str) -> str:
    """Say in plain words what was measured, whether it is good enough, and what would be needed if not."""
    if found.difference.rows < FEWEST_ROWS:
        return (
            f"{found.difference.rows:,} rows can be compared with {reference}, and fewer than {FEWEST_ROWS} are no "
            f"evidence{_needed(found.difference, margin)}; {REMEDY}"
        )
    parts = [f"On {found.rows} {_figures(found, candidate, reference)}: {_verdict(found.difference, margin)}"]
    return "; ".join([*parts, *found.notes])


def _figures(found: Measured, candidate: str, reference: str) -> str:
    each = found.difference
    if found.by:
        means = f"{candidate} scores {each.candidate:.1f} and {reference} {each.reference:.1f} by {found.by}"
    else:
        means = f"{candidate} is right on {each.candidate:.1%} and {reference} on {each.reference:.1%}"
    ends = f"95 % {_points(each, each.low):+.1f} to {_points(each, each.high):+.1f}"
    return f"{means} (difference {_points(each, each.value):+.1f} points, {ends})"


def _verdict(difference: Difference, margin: float) -> str:
    points = _points(difference, margin)
    wanted = f"less than {points:g} point{'' if points == 1 else 's'} worse" if margin else "better"
    if difference.not_worse(margin):
        return "it is better" if difference.low > 0 else f"it is {wanted}"
    needed = difference.rows_needed(margin)
    if needed is None:
        return f"it is not {wanted}"
    of_whom = "two that are equally good" if margin else "a difference such as this one"
    enough = "would be enough" if needed <= difference.rows else "would be needed"
    return f"it is not shown to be {wanted}; about {needed:,} rows {enough} to show it of {of_whom}"


def _needed(difference: Difference, margin: float) -> str:
    needed = difference.rows_needed(margin) if difference.rows else None
    return f" (about {needed:,} would show it of two that are equally good)" if needed and margin else ""


def _points(difference: Difference, value: float) -> float:
    return value * 100 if difference.highest == ONE else value
