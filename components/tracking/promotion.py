"""The alias `champion` of a registered model: who has it, who had it, and why."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from components.errors import TrackingError
from components.tracking.provenance import user_tags
from components.tracking.reading import Registered
from components.tracking.registry import model_exists, version_by_alias
from components.tracking.stores import one_line, open_client, tracking_errors

CHAMPION = "champion"
PREVIOUS = "previous_champion"
"""The alias of the version that was champion before: `models:/NAME@previous_champion` is the way back."""
REASON_TAG = "gradus.promotion_reason"
TEXT_LIMIT = 4000
"""Characters of a tag; a server's database may take no more than 5,000."""


@dataclass(frozen=True)
class Promotion:
    """What is written beside the alias, on the version's page and on its run's."""

    evidence: str
    """What the comparison with the champion said, or why there was none."""
    over: str | None
    """Number of the version that was champion."""
    reason: str | None = None
    """What a person gave as a reason."""
    forced: bool = False


def find_champion(name: str, home: Path) -> Registered | None:
    """Return the version of a registered model that is champion, or None.

    Raises:
        TrackingError: if the store cannot be read.
    """
    with tracking_errors(f"cannot look up the champion of {name}"):
        found = version_by_alias(open_client(home), name, CHAMPION)
        return Registered.of(found) if found else None


def has_files(version: Registered, home: Path) -> bool:
    """Tell whether the files of a registered version are there, undamaged.

    Raises:
        TrackingError: if the store cannot be read.
    """
    with tracking_errors(f"cannot look up version {version.number} of {version.name}"):
        return model_exists(open_client(home), version.name, version.number)


def make_champion(version: Registered, promotion: Promotion, home: Path, run_id: str | None = None) -> None:
    """Point `champion` at a version, `previous_champion` at the one that it pointed to, and write down why.

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
        # MLflow cannot set an alias on a condition; nothing is done between this look and the change.
        present = version_by_alias(client, name, CHAMPION)
        if (str(present.version) if present else None) != promotion.over:
            raise TrackingError(f"somebody else has just promoted a version of {name}; compare with that one")
        client.set_registered_model_alias(name, CHAMPION, number)
        if promotion.over:
            client.set_registered_model_alias(name, PREVIOUS, promotion.over)
        for key, value in _tags(promotion).items():
            client.set_model_version_tag(name, number, key, value)
        if run := run_id or version.run_id:
            for key, value in {**_tags(promotion), "gradus.promoted_as": f"models:/{name}/{number}"}.items():
                client.set_tag(run, key, value)


def _tags(promotion: Promotion) -> dict[str, str]:
    """Return the tags; all of them every time, so that none is left of an earlier promotion of the same version."""
    return {
        "gradus.promoted_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "gradus.promoted_by": user_tags("gradus").get("mlflow.user", "unknown"),
        "gradus.promoted_over": promotion.over or "none",
        "gradus.promotion_evidence": one_line(promotion.evidence, TEXT_LIMIT),
        REASON_TAG: one_line(promotion.reason or "none given", TEXT_LIMIT),
        "gradus.promotion_forced": str(promotion.forced).lower(),
    }
