"""Retraining a champion on old and new data: a preset made of the one that its run was trained with."""

from pathlib import Path

import pandas as pd

from components.core.home import home
from components.core.records import Manifest, fingerprint
from components.tasks.shared import download
from components.tracking.reading import artifacts_of
from pipelines.config import PipelineConfig, load_config, override
from pipelines.service.watching import CONFIG, Champion

RETRAINING = "retraining"
"""Folder under the home for tables of old and new data."""


def config_of(champion: Champion, overrides: list[str]) -> PipelineConfig:
    """Return what the champion's run was trained with, but for `overrides`.

    Raises:
        ConfigError: if it is a config of an older version, or does not fit the overrides.
        TrackingError: if the store cannot be read.
    """
    with artifacts_of(champion.run, [CONFIG], home()) as files:
        return load_config(str(files[CONFIG]), overrides)


def from_file(file: Path, rows: int) -> list[str]:
    """Return the overrides by which a run's preset reads another file, and the rules about numbers of rows warn."""
    where = {"source.url": str(file.absolute()), "source.sha256": None, "source.member": None, "source.limit": rows}
    return [override(key, value) for key, value in where.items()]


def retraining(champion: Champion, arrived: pd.DataFrame) -> tuple[str, list[str]]:
    """Return the preset and the overrides of a run that continues from the champion on old and new data.

    Old rows keep their split, since it depends on each row alone; new ones are dealt like them. What either model has
    learnt from is in no comparison of the two.

    Args:
        champion: whom the run continues.
        arrived: the new rows: `text` and `label`.
    """
    with artifacts_of(champion.run, [CONFIG], home()) as files:
        text = files[CONFIG].read_text(encoding="utf-8")
        old = download(load_config(str(files[CONFIG])).source)  # type: ignore[attr-defined]
    table = pd.concat([_rows(old), arrived[["text", "label"]]], ignore_index=True)
    folder = home() / RETRAINING / fingerprint([champion.uri, table.to_dict("list")])[:32]
    folder.mkdir(parents=True, exist_ok=True)
    data, preset = folder / "old_and_new.parquet", folder / f"{champion.version.name}.yaml"
    for path, write in ((data, table.to_parquet), (preset, lambda path: path.write_text(text, encoding="utf-8"))):
        draft = path.with_name(f".{path.name}")
        write(draft)
        draft.replace(path)
    keys = {
        "source": {"url": str(data), "format": "parquet", "columns": {"text": "text", "label": "label"}},
        "model.weights": champion.uri,
        "tracking.model_name": champion.version.name,
        "tracking.run_name": None,
        "tracking.parent": None,
        "validation.rows.max": None,  # there are more than there were
    }
    return str(preset), [override(key, value) for key, value in keys.items()]


def _rows(old: Manifest) -> pd.DataFrame:
    return pd.read_parquet(old.path("table.parquet"), columns=["text", "label"])
