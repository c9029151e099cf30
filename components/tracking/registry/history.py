"""What happened to the alias `champion` of a registered model: one tag of the model an event, so that none is lost.

MLflow keeps no history of an alias, and a version's own tags tell of its last promotion only.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from components.core.errors import TrackingError, did_you_mean
from components.tracking.registry import promotion_tags as tag
from components.tracking.registry.finding import unless_absent, version_by_alias, versions_of
from components.tracking.stores import every, one_line, open_client, tracking_errors

Action = Literal["promoted", "forced", "rolled back"]

PREFIX = "gradus.history."
"""What the tags of a registered model begin with that hold an event each; the time follows, so that they sort."""
LIMIT = 1500
"""Characters of a reason, and of a sentence, in an event; a database may take no more than 5,000 of a tag in all."""


@dataclass(frozen=True)
class Event:
    """A version became champion."""

    at: str
    """When, in UTC (ISO 8601)."""
    action: Action
    version: str
    over: str | None
    """The version that was champion; None: there was none."""
    by: str
    """The user."""
    reason: str | None = None
    """What a person gave as a reason."""
    evidence: str = ""
    """What the comparison came to, or why there was none."""

    @property
    def key(self) -> str:
        """The name of its tag."""
        time = datetime.fromisoformat(self.at).astimezone(UTC)
        return f"{PREFIX}{time:%Y%m%dT%H%M%S.%fZ}.v{self.version}"

    @property
    def text(self) -> str:
        """The value of its tag."""
        short = {"reason": self.reason and one_line(self.reason, LIMIT), "evidence": one_line(self.evidence, LIMIT)}
        return json.dumps(asdict(self) | short, ensure_ascii=False)


@dataclass(frozen=True)
class History:
    """The events of a registered model, the first one first, and where its alias stands now."""

    model: str
    events: tuple[Event, ...]
    champion: str | None
    """The version that the alias points to now."""
    versions: frozenset[str]
    """Those that are there."""

    @property
    def deleted(self) -> str | None:
        """The version that was champion and is there no more, if that is why there is no champion."""
        last = self.events[-1].version if self.events else None
        return last if self.champion is None and last not in self.versions else None

    @property
    def line(self) -> list[str]:
        """The champions that nobody went back behind, the present one last; deleted ones too."""
        line: list[str] = []
        for event in self.events:
            _advance(line, event.version, back=event.action != "promoted")
        if self.champion and self.champion != (line[-1] if line else None):  # somebody has set the alias by hand
            _advance(line, self.champion, back=True)
        return line


def _advance(line: list[str], version: str, back: bool) -> None:
    """Append a champion, or where one went back to an earlier one drop those after it."""
    if back and version in line:
        del line[len(line) - line[::-1].index(version) :]
    elif line[-1:] != [version]:
        line.append(version)


def read_history(name: str, home: Path) -> History:
    """Return what happened to the champion of a registered model.

    Raises:
        TrackingError: if there is no such model, or the store cannot be read.
    """
    client = open_client(home)
    with tracking_errors(f"cannot read the history of {name}"):
        model = unless_absent(lambda: client.get_registered_model(name))
        if model is None:
            known = [each.name for each in every(client.search_registered_models)]
            hint = did_you_mean(name, known) if known else "; none is registered"
            raise TrackingError(f"there is no registered model {name!r}{hint}")
        versions = versions_of(client, name)
        champion = version_by_alias(client, name, tag.CHAMPION)
    known_events = list(_events(model.tags))
    times = {event.at for event in known_events}
    older = (_of_version(str(each.version), each.tags) for each in versions)
    events = [*known_events, *(event for event in older if event and event.at not in times)]
    return History(
        name,
        tuple(sorted(events, key=lambda event: event.at)),
        str(champion.version) if champion else None,
        frozenset(str(each.version) for each in versions),
    )


def _events(tags: Mapping[str, str]) -> Iterable[Event]:
    for key, text in tags.items():
        if key.startswith(PREFIX):
            try:
                yield Event(**json.loads(text))
            except (ValueError, TypeError) as error:
                raise TrackingError(f"the tag {key} cannot be read: {error}; somebody changed it") from error


def _of_version(number: str, tags: Mapping[str, str]) -> Event | None:
    """Return the last promotion of a version as its own tags tell it, which is all that there was before events."""
    if tag.AT_TAG not in tags:
        return None
    over, reason = tags.get(tag.OVER_TAG), tags.get(tag.REASON_TAG, tag.NO_REASON)
    return Event(
        at=tags[tag.AT_TAG],
        action="forced" if tags.get(tag.FORCED_TAG) == "true" else "promoted",
        version=number,
        over=None if over == "none" else over,
        by=tags.get(tag.BY_TAG, "unknown"),
        reason=None if reason == tag.NO_REASON else reason,
        evidence=tags.get(tag.EVIDENCE_TAG, ""),
    )
