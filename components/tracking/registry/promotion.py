"""The alias `champion` of a registered model: who has it, who had it, and why."""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.durable import locked
from components.core.errors import ConfigError, TrackingError
from components.core.interruptions import interruptions_held_back
from components.core.records import fingerprint
from components.tracking.provenance import user_tags
from components.tracking.reading import Registered
from components.tracking.registry import promotion_tags as tag
from components.tracking.registry.finding import get_version, model_exists, version_by_alias, versions_of
from components.tracking.registry.history import Action, Event
from components.tracking.stores import local_uri, one_line, open_client, tracking_errors, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient


log = logging.getLogger(__name__)

RULES_FILE = "promotion/rules.json"
"""Artifact of a run: the rules that were asked when somebody would promote its model, and what they said."""


@dataclass(frozen=True)
class Promotion:
    """What is written beside the alias, on the version's page and on its run's."""

    evidence: str
    """The result of the comparison with the champion, or why there was none."""
    over: str | None
    """Number of the version that was champion."""
    reason: str | None = None
    """What a person gave as a reason."""
    action: Action = "promoted"
    margin: float | None = None
    """How much worse it was allowed to be."""

    def event(self, version: str) -> Event:
        """Return what is written into the history of the model: a version became champion now."""
        at, by = datetime.now(UTC).isoformat(timespec="microseconds"), user_tags().get("mlflow.user", "unknown")
        return Event(at, self.action, version, self.over, by, self.reason, self.evidence)


def find_champion(name: str, home: Path) -> Registered | None:
    """Return the version of a registered model that is champion, or None.

    Raises:
        TrackingError: if the store cannot be read.
    """
    with tracking_errors(f"cannot look up the champion of {name}"):
        found = version_by_alias(open_client(home), name, tag.CHAMPION)
        return Registered.of(found) if found else None


def earlier_champions(name: str, champion: Registered | None, home: Path) -> list[Registered]:
    """Return the versions that were champion before by evidence and were not rolled back, the latest first.

    A version that was only ever forced is none of them, nor one with the tag `gradus.rolled_back`. MLflow keeps no
    history of an alias: where somebody has put it back on an earlier version by hand, the promotions after that
    version's own count as rolled back.

    Raises:
        TrackingError: if the store cannot be read.
    """
    with tracking_errors(f"cannot look up the versions of {name}"):
        versions = versions_of(open_client(home), name)
    present = champion.number if champion else None
    last = next((version.tags.get(tag.AT_TAG) for version in versions if str(version.version) == present), None)
    found = [
        version
        for version in versions
        if _earned(version.tags)
        and version.tags.get(tag.ROLLED_BACK_TAG) != "true"
        and str(version.version) != present
        and not (last and version.tags[tag.AT_TAG] > last)
    ]
    return [Registered.of(version) for version in sorted(found, key=lambda each: each.tags[tag.AT_TAG], reverse=True)]


def _earned(tags: Mapping[str, str]) -> bool:
    # Promotions before there was the tag say only whether the last one was forced.
    return tag.AT_TAG in tags and tags.get(tag.EARNED_TAG, str(tags.get(tag.FORCED_TAG) == "false").lower()) == "true"


def model_margin(name: str, home: Path) -> float | None:
    """Return the margin that a registered model's tag gives, or None.

    Raises:
        ConfigError: if the tag is no number.
        TrackingError: if the store cannot be read.
    """
    with tracking_errors(f"cannot look up the registered model {name}"):
        text = open_client(home).get_registered_model(name).tags.get(tag.MARGIN_TAG)
    try:
        return None if text is None else float(text)
    except ValueError:
        raise ConfigError(
            f"the tag {tag.MARGIN_TAG} of {name} is {text!r}, not a number; set it to one such as 0.02"
        ) from None


def has_files(version: Registered, home: Path) -> bool:
    """Tell whether the files of a registered version are there, undamaged.

    Raises:
        TrackingError: if the store cannot be read.
    """
    with tracking_errors(f"cannot look up version {version.number} of {version.name}"):
        return model_exists(open_client(home), version.name, version.number)


def version_tags(version: Registered, home: Path) -> dict[str, str]:
    """Return the tags of a registered version.

    Raises:
        TrackingError: if the store cannot be read.
    """
    with tracking_errors(f"cannot look up version {version.number} of {version.name}"):
        found = get_version(open_client(home), version.name, version.number)
    return dict(found.tags) if found else {}


@contextmanager
def one_at_a_time(name: str, home: Path) -> Iterator[None]:
    """Let nobody else on this machine promote a version of a registered model meanwhile; wait for whoever does.

    The store in `home` has its lock there, a server one of this user's in the folder of temporary files, since homes
    differ.
    """
    uri = os.environ.get("MLFLOW_REGISTRY_URI") or tracking_uri(home)
    folder = home if uri == local_uri(home) else Path(tempfile.gettempdir()) / f"gradus-{os.getuid()}"
    waiting = partial(log.warning, "%s: waiting for another promotion of it on this machine", name)
    with locked(folder / ".promoting" / fingerprint([uri, name])[:16], waiting):
        yield


def log_decision(run_id: str, decision: Mapping[str, object], home: Path) -> None:
    """Write to a run which rules were asked, and what they said: the artifact `promotion/rules.json`.

    Raises:
        TrackingError: if the store cannot be written.
    """
    with tracking_errors(f"cannot write {RULES_FILE} of run {run_id}"):
        open_client(home).log_dict(run_id, dict(decision), RULES_FILE)


def make_champion(version: Registered, promotion: Promotion, home: Path, run_id: str | None = None) -> Event:
    """Point `champion` at a version, `previous_champion` at the one that it pointed to, and write down why.

    Forcing a version that was champion before is going back, as is rolling back: those promoted since then get the tag
    `gradus.rolled_back`.

    Args:
        version: the version to promote.
        promotion: what was decided, and against which champion.
        home: the folder of the local store.
        run_id: the run whose page says so too; by default the one that made the version.

    Returns:
        What was written into the history of the model.

    Raises:
        TrackingError: if the store cannot be written, or another version was promoted since `promotion.over` was read.
    """
    client = open_client(home)
    name, number = version.name, version.number
    with tracking_errors(f"cannot promote version {number} of {name}"), interruptions_held_back():
        before = {str(each.version): dict(each.tags) for each in versions_of(client, name)}
        event = promotion.event(number)
        tags = _tags(promotion, event, before.get(number, {}))
        with _taken_back_unless_done(client, name, event, tags, before.get(number, {})):
            client.set_registered_model_tag(name, event.key, event.text)
            for key, value in tags.items():
                client.set_model_version_tag(name, number, key, value)
            # MLflow cannot set an alias on a condition; nothing is done between this look and the change.
            present = version_by_alias(client, name, tag.CHAMPION)
            if (str(present.version) if present else None) != promotion.over:
                raise TrackingError(f"somebody else has just promoted a version of {name}; compare with that one")
            client.set_registered_model_alias(name, tag.CHAMPION, number)
        _follow_up(client, version, promotion, before)
        if run := run_id or version.run_id:
            for key, value in {**tags, "gradus.promoted_as": f"models:/{name}/{number}"}.items():
                client.set_tag(run, key, value)
    return event


@contextmanager
def _taken_back_unless_done(
    client: "MlflowClient", name: str, event: Event, tags: Mapping[str, str], before: Mapping[str, str]
) -> Iterator[None]:
    """Where the block fails, take an event back, and the tags of the version that stand for it, as far as that goes."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            client.delete_registered_model_tag(name, event.key)
            for key in tags:
                if key in before:
                    client.set_model_version_tag(name, event.version, key, before[key])
                else:
                    client.delete_model_version_tag(name, event.version, key)
        raise


def _follow_up(
    client: "MlflowClient", version: Registered, promotion: Promotion, before: Mapping[str, Mapping[str, str]]
) -> None:
    """Say of other versions what a new champion makes of them."""
    if promotion.over:
        client.set_registered_model_alias(version.name, tag.PREVIOUS, promotion.over)
    if promotion.action != "promoted":
        for other in _promoted_since(version.number, before):
            client.set_model_version_tag(version.name, other, tag.ROLLED_BACK_TAG, "true")


def _promoted_since(number: str, before: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the versions that were promoted after a version was champion, if it ever was."""
    followed = [tags[tag.AT_TAG] for tags in before.values() if tags.get(tag.OVER_TAG) == number and tag.AT_TAG in tags]
    then = before.get(number, {}).get(tag.AT_TAG) or min(followed, default=None)
    return [other for other, tags in before.items() if other != number and then and tags.get(tag.AT_TAG, "") >= then]


def _tags(promotion: Promotion, event: Event, before: Mapping[str, str]) -> dict[str, str]:
    """Return the tags; all of them every time, so that none is left of an earlier promotion of the same version.

    Where one goes back without a word, what spoke for the version still does.
    """
    margin = "none" if promotion.margin is None else f"{promotion.margin:g}"
    back = promotion.action == "rolled back"
    return {
        tag.AT_TAG: event.at,
        tag.BY_TAG: event.by,
        tag.OVER_TAG: promotion.over or "none",
        tag.EVIDENCE_TAG: before.get(tag.EVIDENCE_TAG, "") if back else one_line(promotion.evidence, tag.TEXT_LIMIT),
        tag.REASON_TAG: one_line(promotion.reason or tag.NO_REASON, tag.TEXT_LIMIT),
        tag.FORCED_TAG: str(promotion.action == "forced").lower(),
        tag.EARNED_TAG: str(promotion.action == "promoted" or _earned(before)).lower(),
        tag.ROLLED_BACK_TAG: "false",
        tag.USED_MARGIN_TAG: before.get(tag.USED_MARGIN_TAG, margin) if back else margin,
    }
