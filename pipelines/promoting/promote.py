"""Who becomes champion: a model of which no rule says that it may not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.core.errors import ConfigError, GradusError, NotComparable, PromotionRefused
from components.tracking.reading import RecordedRun, Registered, find_registered, find_run
from components.tracking.registry.history import Action, Event
from components.tracking.registry.promotion import (
    Promotion,
    find_champion,
    has_files,
    log_decision,
    make_champion,
    one_at_a_time,
)
from pipelines.kind import kind_of, load_version
from pipelines.promoting.announcing import announce
from pipelines.promoting.config import load_rules
from pipelines.promoting.decision import Decision, allowed_margin, decide
from pipelines.promoting.evidence import Reference
from pipelines.promoting.rules import RuleOutcome

FORCE = "--force --reason TEXT promotes it all the same"


class PromotionResult(BaseModel):
    """What `gradus promote` did, and what `--json` prints."""

    model: str
    version: str
    run_id: str
    champion_before: str | None
    changed: bool
    forced: bool = False
    dry_run: bool = False
    margin: float | None = None
    rules: list[RuleOutcome] = []
    measured: list[Reference] = []
    sentence: str
    warnings: list[str] = []
    """Who could not be told of it; the promotion stands."""


@dataclass(frozen=True)
class Wish:
    """What somebody asks for beside the model: see `promote`."""

    force: bool
    reason: str | None
    margin: float | None
    rules: str | None
    dry_run: bool


def promote(
    address: str,
    home: Path,
    name: str | None = None,
    force: bool = False,
    reason: str | None = None,
    margin: float | None = None,
    rules: str | None = None,
    dry_run: bool = False,
) -> PromotionResult:
    """Make a model the champion of its name, if no rule of level `error` fails (`pipelines.promoting.rules`).

    Which rules were asked, and what they said, is written to the run (`promotion/rules.json`), promoted or not. Whoever
    promotes a version of the same model meanwhile on this machine waits, and is refused if the champion is another one
    then.

    Args:
        address: a run or a model, as in `components.tracking.reading`.
        home: the folder of the local store.
        name: the registered model, where the run's stands under several names.
        force: promote whatever the rules say; needs a reason. No champion is run for it then.
        reason: why, in a person's words; kept with or without `force`.
        margin: how much worse than a champion it may be, as a share of right ones or in points of a judge's score; by
            default what the registered model's tag `gradus.promotion.margin` says, else the rules, else 0.01 or 2.
        rules: a file of rules (`pipelines.promoting.config`); by default that which the run's `promotion.rules` names.
        dry_run: only say what would be done.

    Raises:
        ConfigError: if `force` comes without a reason, the margin is out of range, or the rules are wrong.
        PromotionRefused: if a rule of level `error` fails, its run is not finished, or its files are gone or cannot be
            loaded; its `result` is what the rules said, where they were asked.
        TrackingError: if there is no such model, or the store cannot be read or written.
    """
    wish = Wish(force, (reason or "").strip() or None, margin, rules, dry_run)
    if force and wish.reason is None:
        raise ConfigError("--force needs --reason TEXT: whoever reads the model's page wants to know why")
    version = find_registered(address, name, home)
    seen = find_champion(version.name, home)
    with one_at_a_time(version.name, home):
        champion = find_champion(version.name, home)
        if champion != seen:
            raise PromotionRefused(
                f"not promoted: somebody else has just promoted a version of {version.name}; compare with that one"
            )
        done, event = _promote(version, champion, _finished_run(address, version, home), wish, home)
    return done.model_copy(update={"warnings": announce(version, event, home)}) if event else done


def _promote(
    version: Registered, champion: Registered | None, run: RecordedRun, wish: Wish, home: Path
) -> tuple[PromotionResult, Event | None]:
    """Ask the rules, and move the alias if they allow it."""
    name, number, before = version.name, version.number, champion.number if champion else None
    found: dict[str, Any] = {"model": name, "version": number, "run_id": run.run_id, "champion_before": before}
    found["dry_run"] = wish.dry_run
    rules = load_rules(wish.rules or _rules_of(run))
    margin = allowed_margin(wish.margin, rules, kind_of(run), name, home)
    if before == number:
        sentence = f"version {number} of {name} is the champion already"
        return PromotionResult(**found, changed=False, sentence=sentence), None
    check_loadable(version, home)
    try:
        decision = decide(version, champion, run, rules, margin, home, anew=not wish.force)
    except GradusError as error:
        if not wish.force:
            raise
        decision = Decision((), (), f"it was not compared: {error}")
    found |= {"margin": margin, "rules": decision.outcomes, "measured": decision.measured}
    result = PromotionResult(**found, **_said(decision, version, before, wish))
    log_decision(run.run_id, result.model_dump(mode="json"), home)
    if not decision.allowed and not wish.force:
        refused = PromotionRefused(result.sentence)
        refused.result = result
        raise refused
    if wish.dry_run:
        return result, None
    action: Action = "forced" if wish.force else "promoted"
    promotion = Promotion(decision.sentence, before, wish.reason, action, margin)
    return result, make_champion(version, promotion, home, run.run_id)


def _said(decision: Decision, version: Registered, before: str | None, wish: Wish) -> dict[str, Any]:
    """Return what came of it, and the sentence that says so."""
    if not decision.allowed and not wish.force:
        return {"changed": False, "sentence": f"not promoted: {decision.sentence}; {FORCE}"}
    instead = f" in place of version {before}" if before else ""
    becomes = "would become" if wish.dry_run else "is now"
    why = wish.reason if wish.force else decision.sentence
    sentence = f"version {version.number} of {version.name} {becomes} the champion{instead}: {why}"
    return {"changed": not wish.dry_run, "forced": wish.force, "sentence": sentence}


def _rules_of(run: RecordedRun) -> str | None:
    """Return the file of rules that a run's config names."""
    path = run.params.get("promotion.rules", "null")
    return None if path == "null" else path


def _finished_run(address: str, version: Registered, home: Path) -> RecordedRun:
    """Return the run whose figures speak for a version: the one that was named, else the one that made it.

    Raises:
        PromotionRefused: if it, or the one that made the model, did not come to its end.
    """
    named = find_run(address, home)
    for run in (named, find_run(version.run_id, home)):
        if not run.finished:
            raise PromotionRefused(
                f"not promoted: run {run.run_id[:8]} is {run.status.lower()}, not finished; promote a run that came "
                "to its end"
            )
    return named


def check_loadable(version: Registered, home: Path) -> None:
    """Load a version, which is what those will do who use the champion.

    Raises:
        PromotionRefused: if that fails, or its files are gone or damaged.
    """
    which = f"version {version.number} of {version.name}"
    if not has_files(version, home):
        raise PromotionRefused(f"the champion stays: the files of {which} are gone or damaged")
    try:
        load_version(version, home)
    except NotComparable as error:
        raise PromotionRefused(f"the champion stays: {which} cannot be loaded: {error.__cause__ or error}") from error
