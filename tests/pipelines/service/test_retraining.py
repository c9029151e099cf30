"""A champion is watched on what has arrived alone, and retrained with the splits it had, given or dealt."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components import tasks
from components.core.home import home
from components.tracking.reading import PREDICTIONS, artifacts_of, find_run
from pipelines.config import load_config, override
from pipelines.deployed import run_preset
from pipelines.kinds.classification.flow import classification
from pipelines.service.retraining import config_of, from_file, retraining
from pipelines.service.watching import Champion

pytestmark = [pytest.mark.slow, pytest.mark.ci, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The sample's messages as three files: to train on, to test on, and what has arrived."""
    sample = load_config("spam-demo").source  # type: ignore[attr-defined]
    found = {}
    whole = pd.read_parquet(tasks.download.without_prefect(sample).path("table.parquet"))
    for name, rows in {"train": whole[:1200], "test": whole[1200:1500], "arrived": whole[1500:2000]}.items():
        found[name] = tmp_path / f"{name}.tsv"
        rows[["label", "text"]].to_csv(found[name], sep="\t", header=False, index=False, quoting=3)
    return found


def given(files: dict[str, Path]) -> list[str]:
    where = {"source.url": str(files["train"]), "source.sha256": None, "source.test": str(files["test"])}
    short = [
        "train.max_steps=4",
        "tracking.system_metrics=false",
        "tracking.model_name=given",
        "baselines.enabled=true",
    ]
    return [*(override(key, value) for key, value in where.items()), *short[:3]]


def test_given_splits_stay_and_new_rows_are_dealt_beside_them(files: dict[str, Path], tmp_path: Path) -> None:
    first = classification(load_config("spam-demo", given(files)))
    champion = Champion.find("models:/given/1")
    config = config_of(champion.run, from_file(files["arrived"], 400))
    assert (config.source.files(), config.source.url) == ({}, str(files["arrived"]))
    arrived = champion.watched.labelled(config)
    assert 350 < len(arrived) <= 400  # none of the rows that the test file holds

    preset = retraining(champion, arrived, tmp_path, str(tmp_path))
    data = pd.read_parquet(tmp_path / "old_and_new.parquet")
    old, new = data[:1500], data[1500:]
    assert old["split"].tolist() == ["train"] * 1200 + ["test"] * 300
    assert new["text"].tolist() == arrived["text"].tolist()
    assert set(new["split"]) == {"train", "test"}
    share = config.split.fractions.test
    assert abs((new["split"] == "test").mean() - share) < 0.08

    again = run_preset(str(preset), ["train.max_steps=2"])
    tested = predictions(again.run_id)
    assert set(predictions(first.run_id)) <= set(tested)
    assert set(tested) <= set(data["text"][data["split"] == "test"])


@pytest.mark.parametrize("when", ["train_only", "before_split"])
def test_rows_of_a_small_table_that_were_dealt_keep_their_splits(
    files: dict[str, Path], tmp_path: Path, when: str
) -> None:
    few = tmp_path / "few.tsv"
    few.write_text("".join(files["train"].read_text().splitlines(keepends=True)[:600]))
    sets = [*given({**files, "train": few}), "source.test=null", f"balance={{method: undersample, when: {when}}}"]
    first = classification(load_config("spam-demo", sets))
    champion = Champion.find("models:/given@candidate")
    arrived = champion.watched.labelled(config_of(champion.run, from_file(files["arrived"], 400)))
    preset = retraining(champion, arrived, tmp_path, str(tmp_path))

    data = pd.read_parquet(tmp_path / "old_and_new.parquet")
    assert len(data) == 600 + len(arrived)
    with artifacts_of(find_run(first.run_id, home()), [PREDICTIONS], home()) as artifacts:
        rows: Any = pd.read_parquet(artifacts[PREDICTIONS])
    split_of = dict(zip(data["text"], data["split"], strict=True))
    assert all(split_of[text] == split for text, split in zip(rows["text"], rows["split"], strict=True))

    again = run_preset(str(preset), ["train.max_steps=2"])
    assert set(predictions(first.run_id)) <= set(predictions(again.run_id))


def predictions(run_id: str) -> list[str]:
    """Return the texts that a run was tested on."""
    with artifacts_of(find_run(run_id, home()), [PREDICTIONS], home()) as artifacts:
        rows: Any = pd.read_parquet(artifacts[PREDICTIONS])
    texts: list[str] = rows["text"][rows["split"] == "test"].tolist()
    return texts
