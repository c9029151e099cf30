"""Going back to an earlier champion, and who was champion when."""

import re
from pathlib import Path

from pydantic import BaseModel

from components.core.errors import PromotionRefused
from components.tracking.reading import find_registered
from components.tracking.registry.finding import ALIAS, VERSION
from components.tracking.registry.history import Event, History, read_history
from components.tracking.registry.promotion import Promotion, make_champion, one_at_a_time
from pipelines.promoting.announcing import announce
from pipelines.promoting.promote import check_loadable


class RollbackResult(BaseModel):
    """What `gradus rollback` did, and what `--json` prints."""

    model: str
    version: str
    champion_before: str | None
    sentence: str
    warnings: list[str] = []
    """Who could not be told of it; the rollback stands."""


def rollback(model: str, home: Path, to: str | None = None, reason: str | None = None) -> RollbackResult:
    """Make the champion before the present one the champion again; those after it are no measure for later ones.

    Args:
        model: the registered model's name, or any address of it (`models:/NAME@champion`).
        home: the folder of the local store.
        to: the version to go back to; by default the one before the champion that nobody has gone back behind.
        reason: why, in a person's words.

    Raises:
        PromotionRefused: if there is no earlier champion, or its files are gone or cannot be loaded.
        TrackingError: if there is no such model, or the store cannot be read or written.
    """
    name = model_name(model)
    with one_at_a_time(name, home):
        history = read_history(name, home)
        version = find_registered(f"models:/{name}/{to or _before(history)}", None, home)
        if version.number == history.champion:
            raise PromotionRefused(f"version {version.number} of {name} is the champion already")
        check_loadable(version, home)
        reason = (reason or "").strip() or None
        event = make_champion(version, Promotion("", history.champion, reason, "rolled back"), home)
    instead = f" in place of version {history.champion}" if history.champion else ""
    sentence = f"version {version.number} of {name} is the champion again{instead}" + (f": {reason}" if reason else "")
    return RollbackResult(
        model=name,
        version=version.number,
        champion_before=history.champion,
        sentence=sentence,
        warnings=announce(version, event, home),
    )


def model_name(model: str) -> str:
    """Return the name of the registered model that an address is of."""
    found = ALIAS.fullmatch(model) or VERSION.fullmatch(model)
    return found["name"] if found else re.sub("^models:/+", "", model).rstrip("/")


def _before(history: History) -> str:
    """Return the champion before the present one."""
    there = [version for version in history.line[:-1] if version in history.versions]
    if not there:
        raise PromotionRefused(
            f"{history.model} has no champion before {f'version {history.champion}' if history.champion else 'now'}; "
            "name a version with --to, or promote one"
        )
    return there[-1]


class HistoryResult(BaseModel):
    """What `gradus history` shows, and what `--json` prints."""

    model: str
    champion: str | None
    """The version that is champion now."""
    events: list[Event]
    """The first one first."""
    sentence: str


def history_of(model: str, home: Path) -> HistoryResult:
    """Return every promotion and rollback of a registered model.

    Raises:
        TrackingError: if there is no such model, or the store cannot be read.
    """
    history = read_history(model_name(model), home)
    return HistoryResult(
        model=history.model, champion=history.champion, events=list(history.events), sentence=_state(history)
    )


def _state(history: History) -> str:
    """Say which version is champion now, and if no event tells of that."""
    name, now = history.model, history.champion
    last = history.events[-1].version if history.events else None
    if history.deleted:
        return (
            f"the champion of {name}, version {history.deleted}, was deleted; `gradus rollback {name}` puts the one "
            "before it back"
        )
    if now is None:
        return f"{name} has no champion"
    by_hand = "" if now == last else ", which was set by hand"
    return f"the champion of {name} is version {now}{by_hand}"
