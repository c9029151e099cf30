"""Whether the data of a finished run is still what its source holds: a file may have changed since, or a branch."""

from collections.abc import Iterable

from components.core.errors import GradusError
from components.core.records import fingerprint
from components.tracking.reading import RecordedRun
from pipelines.sweeping.rows import Child


class Sources:
    """What the sources of a sweep's runs hold now, by the runs' identities."""

    def __init__(self, children: Iterable[Child]) -> None:
        """Bring each source once; runs then take it from the store. What cannot be brought now is not known."""
        known: dict[str, str | None] = {}
        self._of: dict[str, str | None] = {}
        for child in children:
            source = child.config.source  # type: ignore[attr-defined]
            key = fingerprint(source.model_dump(mode="json"))
            if key not in known:
                known[key] = _held(source)
            self._of[child.identity] = known[key]

    def changed(self, identity: str, run: RecordedRun) -> bool:
        """Tell whether a run is known to have had other data."""
        return None not in (now := self._of.get(identity), run.source) and now != run.source


def _held(source: object) -> str | None:
    from components.tasks import download

    try:
        return download.without_prefect(source).digest_of("raw")  # type: ignore[arg-type]
    except (GradusError, OSError):  # away, or not to be read: what a run says of it is said there
        return None
