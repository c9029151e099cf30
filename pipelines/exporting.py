"""Export a model of any kind for other programs, with its card, and note in MLflow whether it computes the same."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from components.core.errors import ExportFailed
from components.core.home import home
from components.models.export.export import FORMATS, Format, Model, placed
from components.models.export.gguf import Rounding
from components.models.export.parity import Parity
from components.models.pretrained.hub import is_hub_id
from components.models.saved.classifier import LoadedClassifier
from components.reporting.exported import Export, exported_card
from components.tracking.registry.exports import FAILED, PASSED, adapter_of, card_of, record_parity, run_of, version_of

if TYPE_CHECKING:
    from components.models.export.hf import Loaded
    from components.tracking.reading import RecordedRun

CARD_FILE = "README.md"
"""What the hub shows of a model."""


class Exported(BaseModel):
    """What came of an export."""

    output: Path
    """The folder."""
    files: list[str]
    """What is in it."""
    parity: Parity
    """How it was compared with the original."""
    notes: list[str]
    """What is notable of it."""
    version: str | None
    """The registered version whose tag `gradus.export.parity` says so now, as `NAME/NUMBER`."""


def export(address: str, loaded: "Loaded", to: Format, rounding: Rounding, output: Path) -> Exported:
    """Write a model into the folder `output`, which must not be there, and check it.

    Raises:
        ConfigError: if there is something at `output`.
        WeightsError: if that format has no such model.
        ExportFailed: if what was written computes something else; nothing is left then.
    """
    run = run_of(address, home())
    try:
        with adapter_of(address, run, home()) as adapter, placed(output) as draft:
            model = Model(loaded, rounding, adapter, run.params if run else {})
            parity = FORMATS[to](model, draft)
            card = _card(address, model, run, to, parity)
            (draft / CARD_FILE).write_text(card, encoding="utf-8")
    except ExportFailed as error:
        _record(address, f"{FAILED}{error}")
        raise
    files = sorted(path.name for path in output.iterdir())
    version, older = _record(address, f"{PASSED}{parity}")
    return Exported(output=output, files=files, parity=parity, notes=[*model.notes, *older], version=version)


def _card(address: str, model: Model, run: "RecordedRun | None", to: Format, parity: Parity) -> str:
    base, loaded = model.params.get("model.weights", ""), model.loaded
    export = Export(
        to=to,
        format=parity.format,
        address=address,
        parity=str(parity),
        labels=loaded.card.labels if isinstance(loaded, LoadedClassifier) else [],
        stops=[] if isinstance(loaded, LoadedClassifier) else list(loaded.card.template.stops),
        base=base if is_hub_id(base) else None,
        notes=model.notes,
    )
    return exported_card(export, card_of(run, home()) if run else None)


def _record(address: str, said: str) -> tuple[str | None, list[str]]:
    """Tag the registered version that a model is, if it is one; return which, or a note on a failure that stays."""
    version = version_of(address, home())
    if version is None:
        return None, []
    name = f"{version.name}/{version.number}"
    stays = record_parity(version, said, home())
    return (None, [f"version {name} stays marked: {stays}; export it to that format again"]) if stays else (name, [])
