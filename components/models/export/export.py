"""Export a model: write it, load what was written, compare it with the original, and only then put it in its place."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from components.core.durable import sync
from components.core.errors import ConfigError
from components.core.interruptions import terminated_like_interrupted
from components.models.export.adapter import export_adapter
from components.models.export.gguf import Rounding, context_of, rounded_copy, write_gguf
from components.models.export.hf import Loaded, write_transformers
from components.models.export.ollama import MODELFILE, modelfile
from components.models.export.parity import Bound, Parity, check_parity
from components.models.export.peers import peer_of_folder, peer_of_gguf
from components.models.saved.language_model import LoadedGPT

Format = Literal["hf", "gguf", "ollama", "adapter"]


GGUF_FILE = "model.gguf"
BOUNDS: dict[Rounding, Bound] = {
    "f16": Bound(value=0.01, relative=True),
    "bf16": Bound(value=0.05, relative=True),
    "q8_0": Bound(value=0.1, relative=True),
    "q4_0": Bound(value=0.8, relative=True),
}
"""How far the logits of rounded weights may be from the original's: SmolLM2's, which were rounded before, are off by
0.001, 0.006, 0.036 and 0.53; logits that have nothing to do with each other by 1.4."""


@dataclass(frozen=True)
class Model:
    """A model to be exported."""

    loaded: Loaded
    rounding: Rounding = "f16"
    """What a GGUF file's weights are rounded to."""
    adapter: Path | None = None
    """The folder of the adapter that it was trained with, if there is one."""
    params: Mapping[str, str] = field(default_factory=dict)
    """The config of the run that made it, flat; empty where that is not known."""
    notes: list[str] = field(default_factory=list)
    """What is notable of the export: the formats add to it."""


def _transformers(model: Model, folder: Path) -> Parity:
    write_transformers(model.loaded, folder)
    return check_parity(model.loaded, peer_of_folder(model.loaded, folder), "hf")


def _gguf(model: Model, folder: Path, form: Format = "gguf") -> Parity:
    path = folder / GGUF_FILE
    write_gguf(model.loaded, path, model.rounding, model.notes)
    assert isinstance(model.loaded, LoadedGPT)  # or it would have been refused
    rounded, peer = rounded_copy(model.loaded, model.rounding), peer_of_gguf(model.loaded, path)
    return check_parity(model.loaded, peer, f"{form} {model.rounding}", BOUNDS[model.rounding], rounded)


def _ollama(model: Model, folder: Path) -> Parity:
    parity = _gguf(model, folder, "ollama")
    assert isinstance(model.loaded, LoadedGPT)
    context = context_of(model.loaded.card.size)
    text = modelfile(model.loaded, model.params, GGUF_FILE, context)
    (folder / MODELFILE).write_text(text, encoding="utf-8")
    return parity


def _adapter(model: Model, folder: Path) -> Parity:
    return export_adapter(model.loaded, model.adapter, folder, model.notes)


FORMATS: dict[Format, Callable[[Model, Path], Parity]] = {
    "hf": _transformers,
    "gguf": _gguf,
    "ollama": _ollama,
    "adapter": _adapter,
}
"""What writes a model into an empty folder, and compares what is loaded from there with it; each raises `WeightsError`
where there is no such model in its format, and `ExportFailed` where it computes something else."""


@contextmanager
def placed(output: Path) -> Iterator[Path]:
    """Give an empty folder beside `output` that takes its place when all went well, and is gone otherwise.

    Raises:
        ConfigError: if there is something at `output`, or it cannot be written.
    """
    refuse_existing(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    except OSError as error:
        raise ConfigError(f"--output {output} cannot be written: {error.strerror}; choose another folder") from error
    try:
        with terminated_like_interrupted():
            (draft := scratch / "new").mkdir()
            yield draft
            sync(draft)
            refuse_existing(output)  # somebody else may have been faster
            draft.rename(output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def refuse_existing(output: Path) -> None:
    """Raise a `ConfigError` if there is something at `output`."""
    if output.exists() or output.is_symlink():
        raise ConfigError(f"--output {output} is there already; choose another folder, or remove it")
