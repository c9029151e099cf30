"""How a candidate did beside the champion and earlier ones on the same rows, whatever its kind."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.core.errors import NotComparable, TrackingError
from components.evaluation.paired.matching import RunRows
from components.evaluation.paired.non_inferiority import FEWEST_ROWS
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
from pipelines.promoting.evidence import Evidence, described, judged, name_of, tested_rows


class RunGone(NotComparable):
    """A champion has no run, so nobody can say how good it was."""


def beside_champions(
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
        champion: the present champion, if there is one.
        run: the candidate's run.
        margin: how much worse than a champion it may be.
        home: the folder of the local store.
        anew: whether a champion may be run where it shares too few test rows.

    Raises:
        TrackingError: if the store cannot be read.
    """
    candidate = name_of(version)
    evidence = Evidence(True, f"{version.name} has no champion yet")
    if champion and not (evidence := _beside_champion(champion, run, candidate, margin, home, anew)).enough:
        return evidence
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


def _beside_champion(
    champion: Registered, run: RecordedRun, candidate: str, margin: float, home: Path, anew: bool
) -> Evidence:
    try:
        name = f"the champion (version {champion.number})"
        found = _measure(champion, _run_of(champion, home), run, (name, candidate), home, anew)
        if found is None:
            raise NotComparable(f"their runs share fewer than {FEWEST_ROWS} test rows")
        return judged(found, margin, candidate, name, champion.number)
    except NotComparable as error:
        return Evidence(False, f"it cannot be compared with the champion, version {champion.number}: {error}")


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
                raise NotComparable(described(measured, margin, candidate, "it"))
            anew = anew and not measured.anew
            yield version.number, judged(measured, margin, candidate, name, version.number)
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
    """Compare a candidate's run with that of a champion on rows that both were tested on.

    The champion is run on all of the candidate's test rows where it has seen too few of them, or where many are new
    to it: what a model has learned of new data shows on those alone. None if it has to be run and may not (`anew`).
    `names` are what to call champion and candidate.
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
    if anew and pairs.new_to_the_first >= FEWEST_ROWS:
        with suppress(NotComparable):  # its files are gone, say: there are the common rows
            return _run_anew(champion, runs, names[0], kind, home)
    measured = kind.measure(kind.sides(pairs), common_rows(pairs), _notes(runs, pairs.runs))
    return replace(measured, detail=kind.sentence(pairs, kind.compare(runs, pairs, kind.decides), names))


def _run_anew(champion: Registered, runs: Runs, name: str, kind: Kind[Any, Any], home: Path) -> Measured:
    """Run a champion on the candidate's test rows, less those that either has learned from."""
    other, run = runs
    theirs = rows_of(other, kind, home)
    with left_by(run, kind, home) as paths:
        rows = kind.read(run, paths, home)
        candidate = Candidate(run, rows, paths, unseen(rows, run) & rows.unseen_by(theirs))
        if not candidate.counted.any():
            raise NotComparable(f"{name} or the new model has learned from all {len(rows):,} test rows of the latter")
        sides = kind.run_anew(champion, name, candidate, home)
    where = f"{tested_rows(candidate)} of the new model, which {name} was run on,"
    notes = _notes(runs, (theirs, rows))
    return replace(kind.measure(sides, where, notes), anew=True)


def unseen(rows: RunRows, run: RecordedRun) -> NDArray[np.bool_]:
    """Return which test rows (N) neither a run's model nor one before it has learned from."""
    if not rows.unseen.any():
        raise NotComparable(
            f"run {run.run_id[:8]}, or a model that it continues, has learned from all of its test rows"
        )
    return rows.unseen


def _notes(runs: Runs, rows: tuple[RunRows, RunRows]) -> list[str]:
    unknown = [] if all(each.learned_known for each in rows) else ["what one of the two was trained on is not known"]
    return [*unknown, *unknown_ancestors(runs, [each.ancestry for each in rows])]
