"""Presets, overrides, and the configs that models bring."""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from pipelines.config import load_config
from tests.fuzz.targets import Target

PRESETS = Path(__file__).parents[2] / "pipelines/kinds"
SETS = (
    "train.epochs=3", "source.columns={text: 0, label: 1}", 'source.delimiter=";"', "model.size.layers=2",
    "split.fractions.train=0.7",
    "judge.extra={a: [1, 2]}", "validation.labels=[a, b]", "description=null and void",
    "source.label_map={0: ham, 1: spam}",
)  # fmt: skip


def preset(folder: Path, data: bytes) -> object:
    """Read a preset's file."""
    (path := folder / "preset.yaml").write_bytes(data)
    return load_config(str(path)).run_name


def override(_folder: Path, data: bytes) -> object:
    """Read what stands behind `--set`, for a preset of either kind."""
    text = data.decode("utf-8", "surrogateescape")
    return load_config("instruct-demo" if "judge" in text else "spam-demo", [text]).run_name


def presets() -> Sequence[bytes]:
    """Return presets as they are, and as JSON, which is YAML too."""
    written = [path.read_bytes() for path in sorted(PRESETS.glob("*/presets/*demo.yaml"))]
    return [*written, *(json.dumps(yaml.safe_load(text)).encode() for text in written)]


TARGETS = {
    "preset": Target(preset, presets),
    "override": Target(override, lambda: [text.encode() for text in SETS]),
}
