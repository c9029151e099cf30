"""The alias `champion` of a registered model: who has it, who had it, and why."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import TrackingError
from components.tracking.provenance import user_tags
from components.tracking.registry import version_by_alias
from components.tracking.stores import open_client, tracking_errors

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
PREVIOUS = "previous_champion"
"""The alias of the version that was champion before: `models:/NAME@previous_champion` is the way back."""


@dataclass(frozen=True)
class Promotion:
    """What is written beside the alias, on the version's page and on its run's."""

    reason: str
    over: str | None
    forced: bool


def find_champion(name: str, home: Path) -> "ModelVersion | None":
    """Return the version of a registered model that is champion, or None.

    Raises:
        TrackingError: if the store cannot be read.
    """
    with tracking_errors(f"cannot look up the champion of {name}"):
        return version_by_alias(open_client(home), name, CHAMPION)


def make_champion(version: "ModelVersion", promotion: Promotion, home: Path) -> None:
    """Point `champion` at a version, and `previous_champion` at the one that it pointed to.

    Raises:
        TrackingError: if the store cannot be written, or another version was promoted since `promotion.over` was read.
    """
    client = open_client(home)
    name, number = str(version.name), str(version.version)
    with tracking_errors(f"cannot promote version {number} of {name}"):
        present = version_by_alias(client, name, CHAMPION)
        if (str(present.version) if present else None) != promotion.over:
            raise TrackingError(f"somebody else has just promoted a version of {name}; compare with that one")
        for key, value in _tags(promotion).items():
            client.set_model_version_tag(name, number, key, value)
            if version.run_id:
                client.set_tag(version.run_id, key, value)
        if promotion.over:
            client.set_registered_model_alias(name, PREVIOUS, promotion.over)
        client.set_registered_model_alias(name, CHAMPION, number)


def _tags(promotion: Promotion) -> dict[str, str]:
    return {
        "gradus.promoted_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "gradus.promoted_by": user_tags("gradus").get("mlflow.user", "unknown"),
        "gradus.promoted_over": promotion.over or "none",
        "gradus.promotion_reason": promotion.reason,
        "gradus.promotion_forced": str(promotion.forced).lower(),
    }
