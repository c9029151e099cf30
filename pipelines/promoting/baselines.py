"""How a candidate did beside baselines on its own test rows, and which of those it has learned from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.core.errors import NotComparable
from components.tracking.reading import RecordedRun, Registered
from pipelines.kind import Candidate, Kind, Sides, kind_of, left_by, unknown_ancestors
from pipelines.promoting.champions import unseen
from pipelines.promoting.evidence import Evidence, judged, name_of, tested_rows


@dataclass(frozen=True)
class Learned:
    """How many of its test rows a candidate, or a model that it continues, was trained on."""

    rows: int | None = None
    """None: the run has left nothing that would tell."""
    tested: int = 0
    known: bool = False
    """Whether it is known what the candidate, and every model that it continues, was trained on."""


def beside_baselines(version: Registered, run: RecordedRun, home: Path) -> tuple[Evidence, Evidence, Learned]:
    """Measure a candidate beside the least that it must be better than, and beside the best baseline.

    Also return which of its test rows were learnt from.

    Raises:
        TrackingError: if the store cannot be read.
    """
    try:
        kind = kind_of(run)
        with left_by(run, kind, home) as paths:
            rows = kind.read(run, paths, home)
            known = rows.learned_known and not unknown_ancestors([run], [rows.ancestry])
            learned = Learned(int((~rows.unseen).sum()), len(rows), known)
            candidate = Candidate(run, rows, paths, rows.unseen)
            found = [_beside(kind, side, candidate, name_of(version)) for side in (kind.baseline, kind.best_baseline)]
    except NotComparable as error:
        none = _unmeasured(error)
        return none, none, Learned()
    return found[0], found[1], learned


def _beside(
    kind: Kind[Any, Any], side: Callable[..., tuple[Sides, str]], candidate: Candidate[Any], called: str
) -> Evidence:
    """Measure a candidate beside a baseline, which it must be better than."""
    try:
        unseen(candidate.rows, candidate.run)
        sides, name = side(candidate)
        notes = unknown_ancestors([candidate.run], [candidate.rows.ancestry])
        return judged(kind.measure(sides, tested_rows(candidate), notes), 0.0, called, name, None)
    except NotComparable as error:
        return _unmeasured(error)


def _unmeasured(error: NotComparable) -> Evidence:
    return Evidence(None, f"it cannot be compared with anything: {error}")
