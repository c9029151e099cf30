"""The alias `champion` of a registered model: who has it, who had it, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from components.core.errors import ConfigError, TrackingError
from components.tracking.provenance import user_tags
from components.tracking.reading import Registered
from components.tracking.registry.finding import model_exists, version_by_alias, versions_of
from components.tracking.stores import one_line, open_client, tracking_errors

CHAMPION = "champion"
PREVIOUS = "previous_champion"
"""The alias of the version that was champion before: `models:/NAME@previous_champion` is the way back."""
REASON_TAG = "gradus.promotion_reason"
AT_TAG, OVER_TAG, FORCED_TAG = "gradus.promoted_at", "gradus.promoted_over", "gradus.promotion_forced"
EARNED_TAG = "gradus.promotion_earned"
"""Tag of a version that was promoted by evidence at least once, whatever came later."""
ROLLED_BACK_TAG = "gradus.rolled_back"
"""Tag of a version that was champion until an earlier one was put back: it is no measure for later ones."""
MARGIN_TAG = "gradus.promotion.margin"
"""Tag of a registered model: how much worse than the champion one may be, instead of the default."""
TEXT_LIMIT = 4000
"""Characters of a tag; a server's database may take no more than 5,000."""


@dataclass(frozen=True)
class Promotion:
    """What is written beside the alias, on the version's page and on its run's."""

    evidence: str
    """The result of the comparison with the champion, or why there was none."""
    over: str | None
    """Number of the version that was champion."""
    reason: str | None = None
    """What a person gave as a reason."""
    forced: bool = False
    margin: float | None = None
    """How much worse it was allowed to be."""


def find_champion(name: str, home: Path) -> Registered | None:
    """Return the version of a registered model that is champion, or None.

    Raises:
        TrackingError: if the store cannot be read.
    """
    with tracking_errors(f"cannot look up the champion of {name}"):
        found = version_by_alias(open_client(home), name, CHAMPION)
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
    last = next((version.tags.get(AT_TAG) for version in versions if str(version.version) == present), None)
    found = [
        version
        for version in versions
        if _earned(version.tags)
        and version.tags.get(ROLLED_BACK_TAG) != "true"
        and str(version.version) != present
        and not (last and version.tags[AT_TAG] > last)
    ]
    return [Registered.of(version) for version in sorted(found, key=lambda each: each.tags[AT_TAG], reverse=True)]


def _earned(tags: Mapping[str, str]) -> bool:
    # Promotions before there was the tag say only whether the last one was forced.
    return AT_TAG in tags and tags.get(EARNED_TAG, str(tags.get(FORCED_TAG) == "false").lower()) == "true"


def model_margin(name: str, home: Path) -> float | None:
    """Return the margin that a registered model's tag gives, or None.

    Raises:
        ConfigError: if the tag is no number.
        TrackingError: if the store cannot be read.
    """
    with tracking_errors(f"cannot look up the registered model {name}"):
        text = open_client(home).get_registered_model(name).tags.get(MARGIN_TAG)
    try:
        return None if text is None else float(text)
    except ValueError:
        raise ConfigError(
            f"the tag {MARGIN_TAG} of {name} is {text!r}, not a number; set it to one such as 0.02"
        ) from None


def has_files(version: Registered, home: Path) -> bool:
    """Tell whether the files of a registered version are there, undamaged.

    Raises:
        TrackingError: if the store cannot be read.
    """
    with tracking_errors(f"cannot look up version {version.number} of {version.name}"):
        return model_exists(open_client(home), version.name, version.number)


def make_champion(version: Registered, promotion: Promotion, home: Path, run_id: str | None = None) -> None:
    """Point `champion` at a version, `previous_champion` at the one that it pointed to, and write down why.

    Forcing a version that was champion before is going back: those promoted since then get the tag
    `gradus.rolled_back`.

    Args:
        version: the version to promote.
        promotion: what was decided, and against which champion.
        home: the folder of the local store.
        run_id: the run whose page says so too; by default the one that made the version.

    Raises:
        TrackingError: if the store cannot be written, or another version was promoted since `promotion.over` was read.
    """
    client = open_client(home)
    name, number = version.name, version.number
    with tracking_errors(f"cannot promote version {number} of {name}"):
        before = {str(each.version): dict(each.tags) for each in versions_of(client, name)}
        tags = _tags(promotion, before.get(number, {}))
        # MLflow cannot set an alias on a condition; nothing is done between this look and the change.
        present = version_by_alias(client, name, CHAMPION)
        if (str(present.version) if present else None) != promotion.over:
            raise TrackingError(f"somebody else has just promoted a version of {name}; compare with that one")
        client.set_registered_model_alias(name, CHAMPION, number)
        if promotion.over:
            client.set_registered_model_alias(name, PREVIOUS, promotion.over)
        for key, value in tags.items():
            client.set_model_version_tag(name, number, key, value)
        if promotion.forced:  # all that were promoted after this one was champion, if it ever was
            followed = [found[AT_TAG] for found in before.values() if found.get(OVER_TAG) == number and AT_TAG in found]
            then = before.get(number, {}).get(AT_TAG) or min(followed, default=None)
            for other, found in before.items():
                if other != number and then and found.get(AT_TAG, "") >= then:
                    client.set_model_version_tag(name, other, ROLLED_BACK_TAG, "true")
        if run := run_id or version.run_id:
            for key, value in {**tags, "gradus.promoted_as": f"models:/{name}/{number}"}.items():
                client.set_tag(run, key, value)


def _tags(promotion: Promotion, before: Mapping[str, str]) -> dict[str, str]:
    """Return the tags; all of them every time, so that none is left of an earlier promotion of the same version."""
    return {
        AT_TAG: datetime.now(UTC).isoformat(timespec="microseconds"),
        "gradus.promoted_by": user_tags().get("mlflow.user", "unknown"),
        OVER_TAG: promotion.over or "none",
        "gradus.promotion_evidence": one_line(promotion.evidence, TEXT_LIMIT),
        REASON_TAG: one_line(promotion.reason or "none given", TEXT_LIMIT),
        FORCED_TAG: str(promotion.forced).lower(),
        EARNED_TAG: str(not promotion.forced or _earned(before)).lower(),
        ROLLED_BACK_TAG: "false",
        "gradus.promotion_margin": "none" if promotion.margin is None else f"{promotion.margin:g}",
    }
