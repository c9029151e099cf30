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
    figures = f"{means} (difference {value} points, 95 % {low} to {high})"
    return "; ".join([f"On {found.rows} {figures}: {_verdict(each, margin, to_points * margin, needed)}", *found.notes])


def _verdict(difference: Difference, margin: float, points: float, needed: int | None) -> str:
    wanted = f"less than {points:g} point{'' if points == 1 else 's'} worse" if margin else "better"
    if difference.not_worse(margin):
        return "it is better" if difference.low > 0 else f"it is {wanted}"
    if needed is None:
        return f"it is not {wanted}"
    of_whom = "two that are equally good" if margin else "a difference such as this one"
    enough = "would be enough" if needed <= difference.rows else "would be needed"
    return f"it is not shown to be {wanted}; about {needed:,} rows {enough} to show it of {of_whom}"
