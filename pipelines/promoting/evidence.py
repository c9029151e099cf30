"""What speaks for a candidate: how it did beside the champion and earlier ones on the same rows, whatever its kind."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from components.core.errors import NotComparable, TrackingError
from components.evaluation.paired.matching import RunRows
from components.evaluation.paired.non_inferiority import FEWEST_ROWS, ONE
from components.tracking.reading import RecordedRun, Registered, find_run
from components.tracking.registry.promotion import earlier_champions
from pipelines.kind import (
    Candidate,
    Kind,
    Measured,
    Runs,
    Unlike,
    common_rows,
    kind_of,
    kind_of_both,
    left_by,
    pair_runs,
    rows_of,
    unknown_ancestors,
)

REMEDY = "test on more rows: more data, or a larger split.fractions.test"


class Reference(BaseModel):
    """What a candidate was measured against, and how it did; accuracies are shares, scores are of a hundred."""

    name: str
    version: str | None
    """None for the majority class, and the model that the candidate started from."""
    rows: int
    candidate: float
    reference: float
    difference: float
    interval: tuple[float, float]
    """95 %"""
    good_enough: bool
    rows_needed: int | None
    """About how many rows would show that two that are equally good are, or a difference such as this one."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for a candidate or against it."""

    enough: bool
    sentence: str
    references: tuple[Reference, ...] = ()


class RunGone(NotComparable):
    """A champion has no run, so nobody can say how good it was."""


def evidence_for(
    version: Registered,
    champion: Registered | None,
    run: RecordedRun,
    margin: float,
    home: Path,
    anew: bool = True,
) -> Evidence:
    """Return what was measured beside the champion and earlier ones: the first that a version fails beside decides.

    Where it can be measured beside none of the earlier ones whose runs are still there, that decides: small losses
    could add up.

    Args:
        version: the candidate.
        champion: the present champion; None: it has to be better than a baseline.
        run: the candidate's run.
        margin: how much worse than a champion it may be.
        home: the folder of the local store.
        anew: whether a champion may be run where it shares too few test rows.

    Raises:
        TrackingError: if the store cannot be read.
    """
    candidate = f"the new model (version {version.number})"
    if not (evidence := _beside_champion(champion, run, candidate, margin, home, anew)).enough:
        return evidence
    if not champion:
        evidence = replace(evidence, sentence=f"the first champion of {version.name}: {evidence.sentence}")
    known = [each for each in earlier_champions(version.name, champion, home) if each.number != version.number]
    passed, unmeasured, gone = [], [], 0
    for number, earlier in _beside_earlier(known, run, candidate, margin, home, anew):
        if isinstance(earlier, NotComparable):
            unmeasured.append(f"It cannot be compared with an earlier champion, version {number}: {earlier}.")
            gone += isinstance(earlier, RunGone)
            continue
        evidence = replace(evidence, references=evidence.references + earlier.references)
        if not earlier.enough:
            return replace(earlier, references=evidence.references)
        passed.append(number)
    if len(unmeasured) > gone and not passed:
        return replace(evidence, enough=False, sentence=" ".join(unmeasured))
    if passed:
        unmeasured.append(f"The same holds beside earlier champions (version {', '.join(passed)}).")
    return replace(evidence, sentence=" ".join([evidence.sentence, *unmeasured]))


def _judged(measured: Measured, margin: float, candidate: str, name: str, version: str | None) -> Evidence:
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
    )
    sentence = f"{_described(measured, margin, candidate, name)}. {measured.detail if enough else ''}".strip()
    return Evidence(enough, sentence, (reference,))


def _described(found: Measured, margin: float, candidate: str, reference: str) -> str:
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


def _beside_champion(
    champion: Registered | None, run: RecordedRun, candidate: str, margin: float, home: Path, anew: bool
) -> Evidence:
    """Measure a candidate beside the champion, or what a first one must be better than."""
    try:
        if champion is None:
            measured, name = _beside_baseline(run, home)
            return _judged(measured, 0.0, candidate, name, None)
        name = f"the champion (version {champion.number})"
        found = _measure(champion, _run_of(champion, home), run, (name, candidate), home, anew)
        if found is None:
            raise NotComparable(f"their runs share fewer than {FEWEST_ROWS} test rows")
        return _judged(found, margin, candidate, name, champion.number)
    except NotComparable as error:
        beside = f"the champion, version {champion.number}" if champion else "anything"
        return Evidence(False, f"it cannot be compared with {beside}: {error}")


def _beside_earlier(
    known: list[Registered], run: RecordedRun, candidate: str, margin: float, home: Path, anew: bool
) -> Iterator[tuple[str, Evidence | NotComparable]]:
    """Measure a candidate beside earlier champions: all that share its test rows, and the best of the others.

    The others would have to be run, which takes long; the best is the one of the highest figure on its own test set.
    One that cannot be measured, or on too few rows, is yielded as the reason why.
    """
    runs, figure = {}, f"test/{kind_of(run).decides}"
    for version in known:
        try:
            runs[version] = _run_of(version, home)
        except RunGone as error:
            yield version.number, error
    for version, other in sorted(runs.items(), key=lambda each: -each[1].metrics.get(figure, 0.0)):
        name = f"an earlier champion (version {version.number})"
        try:
            measured = _measure(version, other, run, (name, candidate), home, anew)
            if measured is None:
                continue
            if measured.difference.rows < FEWEST_ROWS:
                raise NotComparable(_described(measured, margin, candidate, "it"))
            anew = anew and not measured.anew
            yield version.number, _judged(measured, margin, candidate, name, version.number)
        except NotComparable as error:
            yield version.number, error


def _run_of(champion: Registered, home: Path) -> RecordedRun:
    """Return the run that made the champion.

    Raises:
        RunGone: if there is none: it was registered by hand, or its run was deleted for good.
    """
    if not champion.run_id:
        raise RunGone("no run made that version, so there are no predictions of it")
    try:
        return find_run(champion.run_id, home)
    except TrackingError as error:
        raise RunGone(f"the run that made it, {champion.run_id[:8]}, cannot be found") from error


def _measure(
    champion: Registered, other: RecordedRun, run: RecordedRun, names: tuple[str, str], home: Path, anew: bool
) -> Measured | None:
    """Compare a candidate's run with that of a champion, which is run on its test rows if they share too few.

    None if it may not be run (`anew`) and has to be. `names` are what to call champion and candidate.
    """
    kind, runs = kind_of_both(other, run), (other, run)
    try:
        pairs = pair_runs(runs, kind, home)
    except Unlike:
        raise
    except NotComparable:  # they have no row in common
        pairs = None
    if pairs is None or pairs.rows < FEWEST_ROWS:
        return _run_anew(champion, runs, names[0], kind, home) if anew else None
    measured = kind.measure(kind.sides(pairs), common_rows(pairs), _notes(runs, pairs.runs))
    return replace(measured, detail=kind.sentence(pairs, kind.compare(runs, pairs, kind.decides), names))


def _beside_baseline(run: RecordedRun, home: Path) -> tuple[Measured, str]:
    """Compare a candidate with what a first champion must be better than; also return what to call that."""
    kind = kind_of(run)
    with left_by(run, kind, home) as paths:
        rows = kind.read(run, paths, home)
        candidate = Candidate(run, rows, paths, _unseen(rows, run))
        sides, name = kind.baseline(candidate)
    return kind.measure(sides, _tested_rows(candidate), unknown_ancestors([run], [rows.ancestry])), name


def _run_anew(champion: Registered, runs: Runs, name: str, kind: Kind[Any, Any], home: Path) -> Measured:
    """Run a champion on the candidate's test rows, less those that either has learned from."""
    other, run = runs
    theirs = rows_of(other, kind, home)
    with left_by(run, kind, home) as paths:
        rows = kind.read(run, paths, home)
        candidate = Candidate(run, rows, paths, _unseen(rows, run) & rows.unseen_by(theirs))
        if not candidate.counted.any():
            raise NotComparable(f"{name} or the new model has learned from all {len(rows):,} test rows of the latter")
        sides = kind.run_anew(champion, name, candidate, home)
    where = f"{_tested_rows(candidate)} of the new model, which {name} was run on,"
    notes = _notes(runs, (theirs, rows))
    return replace(kind.measure(sides, where, notes), anew=True)


def _unseen(rows: RunRows, run: RecordedRun) -> NDArray[np.bool_]:
    """Return which test rows (N) neither a run's model nor one before it has learned from."""
    if not rows.unseen.any():
        raise NotComparable(
            f"run {run.run_id[:8]}, or a model that it continues, has learned from all of its test rows"
        )
    return rows.unseen


def _tested_rows(candidate: Candidate[Any]) -> str:
    rows, of = int(candidate.counted.sum()), len(candidate.rows)
    return f"the {rows:,} test rows" if rows == of else f"{rows:,} of the {of:,} test rows, which none was trained on,"


def _notes(runs: Runs, rows: tuple[RunRows, RunRows]) -> list[str]:
    unknown = [] if all(each.learned_known for each in rows) else ["what one of the two was trained on is not known"]
    return [*unknown, *unknown_ancestors(runs, [each.ancestry for each in rows])]
