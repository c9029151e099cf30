"""Who becomes champion: a model that is shown not to be worse than the present one and the best before it."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.core.errors import ConfigError, GradusError, PromotionRefused
from components.evaluation.metrics import METRICS
from components.tracking.reading import RecordedRun, Registered, find_registered, find_run
from components.tracking.registry.promotion import (
    MARGIN_TAG,
    Promotion,
    find_champion,
    has_files,
    make_champion,
    model_margin,
)
from pipelines.kind import Kind, kind_of
from pipelines.promoting.evidence import Evidence, Reference, evidence_for

FORCE = "--force --reason TEXT promotes it all the same"


class PromotionResult(BaseModel):
    """What `gradus promote` did, and what `--json` prints."""

    model: str
    version: str
    run_id: str
    champion_before: str | None
    changed: bool
    forced: bool = False
    margin: float | None = None
    measured: list[Reference] = []
    sentence: str


def promote(
    address: str,
    home: Path,
    name: str | None = None,
    force: bool = False,
    reason: str | None = None,
    margin: float | None = None,
) -> PromotionResult:
    """Make a model the champion of its name, if it is shown not to be worse than champions are.

    Not worse means: on at least 100 test rows that neither was trained on, nor a model that one of them continues, the
    lower end of the 95 % interval of the difference is above minus the margin
    (`components.evaluation.paired`): of the shares of right ones, or of instruction runs the scores by the
    same judge. It must be so beside the champion, and beside every earlier one that was promoted by evidence and not
    rolled back, so that small losses do not add up. Where two share fewer rows, the champion is run on the candidate's.
    A first champion must be better than the majority class, or than the model that it started from.

    Args:
        address: a run or a model, as in `components.tracking.reading`.
        home: the folder of the local store.
        name: the registered model, where the run's stands under several names.
        force: promote whatever the comparison says; needs a reason. No champion is run for it then.
        reason: why, in a person's words; kept with or without `force`.
        margin: how much worse it may be, as a share of right ones or in points of a judge's score; by default what
            the registered model's tag `gradus.promotion.margin` says, else 0.01 or 2. A run has no say in it.

    Raises:
        ConfigError: if `force` comes without a reason, or the margin is out of range.
        PromotionRefused: if it is not shown not to be worse, or cannot be compared, or its run is not finished.
        TrackingError: if there is no such model, or the store cannot be read or written.
    """
    reason = (reason or "").strip() or None
    if force and reason is None:
        raise ConfigError("--force needs --reason TEXT: whoever reads the model's page wants to know why")
    version = find_registered(address, name, home)
    model, number = version.name, version.number
    champion = find_champion(model, home)
    before = champion.number if champion else None
    run = _finished_run(address, version, home)
    allowed = _margin(margin, kind_of(run), model, home)
    found: dict[str, Any] = {"model": model, "version": number, "run_id": run.run_id, "champion_before": before}
    if before == number:
        there = f"version {number} of {model} is the champion already"
        return PromotionResult(**found, changed=False, sentence=there)
    evidence = _evidence(version, champion, run, allowed, home, force)
    make_champion(version, Promotion(evidence.sentence, before, reason, force, allowed), home, run.run_id)
    instead = f" in place of version {before}" if before else ""
    sentence = f"version {number} of {model} is now the champion{instead}: {reason if force else evidence.sentence}"
    found |= {"forced": force, "margin": allowed, "measured": list(evidence.references)}
    return PromotionResult(**found, changed=True, sentence=sentence)


def _evidence(
    version: Registered, champion: Registered | None, run: RecordedRun, allowed: float, home: Path, force: bool
) -> Evidence:
    """Return what speaks for a version; with `force` no more than what is recorded, and nothing hinders that.

    Raises:
        PromotionRefused: if it is not enough, without `force`.
    """
    try:
        evidence = evidence_for(version, champion, run, allowed, home, anew=not force)
    except GradusError as error:
        if not force:
            raise
        return Evidence(False, f"it was not compared: {error}")
    if not evidence.enough and not force:
        raise PromotionRefused(f"not promoted: {evidence.sentence.rstrip('.')}; {FORCE}")
    return evidence


def _margin(given: float | None, kind: Kind[Any, Any], name: str, home: Path) -> float:
    """Return the margin of who promotes, of the registered model, or the kind's.

    Raises:
        ConfigError: if it is out of range.
    """
    of_model = model_margin(name, home) if given is None else None
    margin = next((each for each in (given, of_model) if each is not None), kind.margin)
    if not 0 <= margin < METRICS[kind.decides].high:
        where = "--margin" if given is not None else f"the tag {MARGIN_TAG} of {name}"
        raise ConfigError(
            f"{where} is {margin:g}; give a share such as 0.01 for a classifier, or points of a hundred such as 2 for "
            "a judge's score"
        )
    return float(margin)


def _finished_run(address: str, version: Registered, home: Path) -> RecordedRun:
    """Return the run whose figures speak for a version: the one that was named, else the one that made it.

    Raises:
        PromotionRefused: if it, or the one that made the model, did not come to its end, or the files are gone.
    """
    named = find_run(address, home)
    for run in (named, find_run(version.run_id, home)):
        if not run.finished:
            raise PromotionRefused(
                f"not promoted: run {run.run_id[:8]} is {run.status.lower()}, not finished; promote a run that came "
                "to its end"
            )
    if not has_files(version, home):
        raise PromotionRefused(
            f"not promoted: the files of version {version.number} of {version.name} are gone or damaged"
        )
    return named
