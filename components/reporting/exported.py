"""The card of an exported model: what is known of the run that made it, and how the export is used."""

from dataclasses import dataclass, field

from components.core.versions import installed
from components.reporting.pages import render

LIBRARIES = {"hf": "transformers", "gguf": "gguf", "ollama": "gguf", "adapter": "peft"}
"""What the hub is told that each format is for."""


@dataclass(frozen=True)
class Export:
    """What a card says of an export."""

    to: str
    """`hf`, `gguf`, `ollama` or `adapter`."""
    format: str
    """The same with what weights are rounded to."""
    address: str
    """The model that was exported."""
    parity: str
    """How it was compared with the original, in words."""
    labels: list[str] = field(default_factory=list)
    """Those of a classifier."""
    stops: list[str] = field(default_factory=list)
    """Texts at which a language model's responses end."""
    base: str | None = None
    """The model that it was trained from, where the hub has it."""
    notes: list[str] = field(default_factory=list)
    """What is notable of it."""


def exported_card(export: Export, card: str | None) -> str:
    """Return the card in Markdown, with the head that the hub reads; `card` is that of the run, if there is one."""
    from huggingface_hub import ModelCardData

    front = ModelCardData(
        library_name=LIBRARIES[export.to],
        pipeline_tag="text-classification" if export.labels else "text-generation",
        base_model=export.base,
        tags=["gradus"],
    )
    name = export.address.rstrip("/").rpartition("/")[2]
    values = {**vars(export), "name": name, "card": card, "front": f"{front.to_yaml()}\n"}
    return render("exported.jinja", {}, version=installed("gradus"), **values)
