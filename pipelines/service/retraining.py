"""Retraining a champion on old and new data: a preset made of the one that its run was trained with."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from components.core.home import home
from components.core.records import sha256_of
from components.data.split.config import Fractions
from components.data.split.folding import fold_all
from components.data.split.given_splits import SPLIT, SPLITS, split_number
from components.tasks.shared import download
from components.tracking.reading import PREDICTIONS, RecordedRun, artifacts_of, find_run
from pipelines.config import PipelineConfig, load_config, override, read_tree
from pipelines.service.watching import RETRAINING, Champion

CONFIG = "config.yaml"


def config_of(run: RecordedRun, overrides: list[str]) -> Any:
    """Return what a run was trained with, but for `overrides`: the config of its kind.

    Raises:
        ConfigError: if it is a config of an older version, or does not fit the overrides.
        TrackingError: if the store cannot be read.
    """
    return load_config(f"runs:/{run.run_id}/{CONFIG}", overrides)


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
    """Return the overrides by which a run's preset reads this file alone, and its rules about numbers of rows warn."""
    others = dict.fromkeys(("source.sha256", "source.member", "source.validation", "source.test"))
    where: dict[str, Any] = {"source.url": str(file.absolute()), "source.hub": {}, "source.limit": rows, **others}
    return [override(key, value) for key, value in where.items()]


def retraining(champion: Champion, arrived: pd.DataFrame, folder: Path, logged: str) -> Path:
    """Write the preset of a run that continues from the champion on old and new data, and that data beside it.

    Old rows keep their split, which the source gives or the champion's run has left; new ones are dealt in the same
    shares. What either model has learnt from is in no comparison of the two.

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
    config = config_of(champion.run, [])
    old = pd.read_parquet(download(config.source).path("table.parquet")).drop(columns="row")
    new = arrived[["text", "label"]]
    with artifacts_of(champion.run, [CONFIG, PREDICTIONS], home()) as files:
        tree = read_tree(files[CONFIG], CONFIG, "it is the config of a run")
        if SPLIT not in old and PREDICTIONS in files:
            old[SPLIT] = _kept(old["text"], files[PREDICTIONS])
            if tree.get("balance", {}).get("when") == "before_split":
                tree["balance"]["when"] = "train_only"  # out of splits that are given no rows are taken
    if SPLIT in old:
        new = new.assign(**{SPLIT: _dealt(new["text"], config.split.fractions, old[SPLIT].unique())})
    data = folder / "old_and_new.parquet"
    pd.concat([old, new], ignore_index=True).to_parquet(data)
    tree["source"] = {
        "url": f"{logged}/{data.name}",
        "sha256": sha256_of(data),
        "format": "parquet",
        "columns": {name: name for name in old},
    }
    tree["model"] |= {"weights": champion.uri, "adapter": None}  # which its weights hold already
    if tree.get("lora", {}).get("save") == "adapter":
        tree["lora"]["save"] = "merged"  # apart from its base, which is a registered model now, it could not be kept
    tree["validation"].setdefault("rows", {})["max"] = None  # there are more than there were
    tree["tracking"] |= {
        "model_name": champion.version.name,
        "run_name": f"{champion.version.name} retrained from version {champion.version.number}",
        "parent": None,
    }
    preset = folder / f"{champion.version.name}.yaml"
    preset.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), "utf-8")
    return preset


def _kept(texts: pd.Series, predictions: Path) -> list[str]:
    """Return the split that each text had in a run, as its `predictions.parquet` says.

    What is the same once folded as a row that was held out is held out with it. All others are of train: what the run
    left out as damaged, or as a copy, is left out of that again.
    """
    rows = pd.read_parquet(predictions, columns=["split", "text"])
    known: dict[str, str] = {}
    for name in SPLITS:  # test last, so that it wins
        known |= dict.fromkeys(fold_all(rows.loc[rows["split"] == name, "text"]), name)
    return [known.get(folded, SPLITS[0]) for folded in fold_all(texts.fillna(""))]


def _dealt(texts: pd.Series, fractions: Fractions, given: Iterable[str]) -> list[str]:
    """Return a split for each text, which depends on it alone; where a split is not `given`, train has its share."""
    shares = [getattr(fractions, name) for name in SPLITS]
    drawn = pd.util.hash_array(texts.to_numpy(), categorize=False) / 2**64
    dealt = np.searchsorted(np.cumsum(shares)[:-1], drawn, side="right")
    there = set(map(split_number, given))
    return [SPLITS[number if number in there else 0] for number in dealt]


def _is_retraining(config: PipelineConfig) -> bool:
    url = str(config.source.url)  # type: ignore[attr-defined]
    return RETRAINING in Path(url).parts and config.model.weights.startswith("models:/")
