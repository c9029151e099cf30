"""Retraining a champion on old and new data: a preset made of the one that its run was trained with."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from components.core.home import home
from components.core.records import sha256_of
from components.tasks.shared import download
from components.tracking.reading import RecordedRun, artifacts_of, find_run
from pipelines.config import PipelineConfig, load_config, override, read_tree
from pipelines.service.watching import RETRAINING, Champion

CONFIG = "config.yaml"


def config_of(run: RecordedRun, overrides: list[str]) -> Any:
    """Return what a run was trained with, but for `overrides`: the config of its kind.

    Raises:
        ConfigError: if it is a config of an older version, or does not fit the overrides.
        TrackingError: if the store cannot be read.
    """
    with _config_file(run) as files:
        return load_config(str(files[CONFIG]), overrides)


def first_run(champion: Champion) -> RecordedRun:
    """Return the run whose data a champion goes back to: its own, or the first before it that was no retraining.

    Raises:
        ConfigError, TrackingError: as `config_of` does.
    """
    run = champion.run
    while _is_retraining(config := config_of(run, [])):
        run = find_run(config.model.weights, home())
    return run


def from_file(file: Path, rows: int) -> list[str]:
    """Return the overrides by which a run's preset reads another file, and its rules about numbers of rows warn."""
    where = {"source.url": str(file.absolute()), "source.sha256": None, "source.member": None, "source.limit": rows}
    return [override(key, value) for key, value in where.items()]


def retraining(champion: Champion, arrived: pd.DataFrame, folder: Path, logged: str) -> Path:
    """Write the preset of a run that continues from the champion on old and new data, and that data beside it.

    Old rows keep their split, since it depends on each row alone; new ones are dealt like them. What either model has
    learnt from is in no comparison of the two.

    Args:
        champion: whom the run continues.
        arrived: the new rows: `text` and `label`.
        folder: where both are written, to be logged.
        logged: the address that the folder will have, `runs:/RUN/FOLDER`: whichever machine retrains finds it there.

    Returns:
        The preset's path.

    Raises:
        ConfigError, TrackingError: as `config_of` does.
    """
    old = pd.read_parquet(download(config_of(champion.run, []).source).path("table.parquet"), columns=["text", "label"])
    data = folder / "old_and_new.parquet"
    pd.concat([old, arrived[["text", "label"]]], ignore_index=True).to_parquet(data)
    with _config_file(champion.run) as files:
        tree = read_tree(files[CONFIG], CONFIG, "it is the config of a run")
    tree["source"] = {
        "url": f"{logged}/{data.name}",
        "sha256": sha256_of(data),
        "format": "parquet",
        "columns": {"text": "text", "label": "label"},
    }
    tree["model"]["weights"] = champion.uri
    tree["validation"].setdefault("rows", {})["max"] = None  # there are more than there were
    tree["tracking"] |= {
        "model_name": champion.version.name,
        "run_name": f"{champion.version.name} retrained from version {champion.version.number}",
        "parent": None,
    }
    preset = folder / f"{champion.version.name}.yaml"
    preset.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), "utf-8")
    return preset


def _config_file(run: RecordedRun) -> Any:
    return artifacts_of(run, [CONFIG], home())


def _is_retraining(config: PipelineConfig) -> bool:
    url = str(config.source.url)  # type: ignore[attr-defined]
    return RETRAINING in Path(url).parts and config.model.weights.startswith("models:/")
