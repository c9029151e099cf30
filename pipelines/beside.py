"""A candidate measured beside a champion, or beside what a first champion must be better than, on the same rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.core.errors import NotComparable
from components.evaluation.paired.matching import RunRows
from components.evaluation.paired.non_inferiority import FEWEST_ROWS
from components.tracking.reading import RecordedRun, Registered
from pipelines.kind import Candidate, Kind, Runs, Unlike, kind_of, kind_of_both, left_by, pair_runs, rows_of
from pipelines.learned import common_rows, unknown_ancestors
from pipelines.measured import Measured


def beside_champion(
    champion: Registered,
    other: RecordedRun,
    run: RecordedRun,
    names: tuple[str, str],
    home: Path,
    anew: bool = True,
) -> Measured | None:
    """Compare a candidate with a champion, which is run on the candidate's test rows if they share too few.

    Args:
        champion: the champion, of now or of earlier.
        other: the run that made it.
        run: the candidate's run.
        names: what to call champion and candidate.
        home: the folder of the local store.
        anew: whether the champion may be run, if its run and the candidate's share too few rows; else that is None.

    Raises:
        NotComparable: if there is nothing to compare, or it would mean nothing.
        TrackingError: if the store cannot be read.
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
    notes = _notes(runs, pairs.runs)
    measured = kind.measure(kind.sides(pairs), common_rows(pairs), notes)
    return replace(measured, detail=kind.sentence(pairs, kind.compare(runs, pairs, kind.decides), names))


def beside_baseline(run: RecordedRun, home: Path) -> tuple[Measured, str]:
    """Compare a candidate with what a first champion must be better than; also return what to call that.

    Raises:
        NotComparable: if there is nothing to compare, or it would mean nothing.
        TrackingError: if the store cannot be read.
    """
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
