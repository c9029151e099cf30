"""What speaks for a candidate: how it did beside the champion and earlier ones, for runs of every kind."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from components.core.errors import NotComparable, TrackingError
from components.evaluation.paired.non_inferiority import FEWEST_ROWS
from components.tracking.reading import RecordedRun, Registered, find_run
from components.tracking.registry.promotion import earlier_champions
from pipelines.beside import beside_baseline, beside_champion
from pipelines.kind import kind_of, kind_of_both
from pipelines.measured import Measured, told


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
    said = f"{told(measured, margin, candidate, name)}. {measured.detail if enough else ''}".strip()
    return Evidence(enough, said, (reference,))


def _beside_champion(
    champion: Registered | None, run: RecordedRun, candidate: str, margin: float, home: Path, anew: bool
) -> Evidence:
    """Measure a candidate beside the champion, or what a first one must be better than."""
    try:
        if champion is None:
            measured, name = beside_baseline(run, home)
            return _judged(measured, 0.0, candidate, name, None)
        name = f"the champion (version {champion.number})"
        found = beside_champion(champion, _run_of(champion, home), run, (name, candidate), home, anew)
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
            other = _run_of(version, home)
            kind_of_both(other, run)
            runs[version] = other
        except NotComparable as error:
            yield version.number, error
    for version, other in sorted(runs.items(), key=lambda each: -each[1].metrics.get(figure, 0.0)):
        name = f"an earlier champion (version {version.number})"
        try:
            measured = beside_champion(version, other, run, (name, candidate), home, anew)
            if measured is None:
                continue
            if measured.difference.rows < FEWEST_ROWS:
                raise NotComparable(told(measured, margin, candidate, "it"))
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
