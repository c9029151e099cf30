"""Files that runs have logged are presets and data for other runs."""

from pathlib import Path

import pytest
import yaml

from components.core.errors import ConfigError, TrackingError
from components.data.download import download
from components.data.sources import SourceConfig
from components.tasks import shared  # noqa: F401 - it tells the data's room how files of runs are found
from components.tracking.run_files import run_file
from components.tracking.stores import connect
from pipelines.config import load_config
from pipelines.kinds.classification.config import ClassificationConfig


@pytest.fixture
def home(isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADUS_HOME", str(isolated))
    return isolated


@pytest.fixture
def run_id(home: Path, tmp_path: Path) -> str:
    """A run that has logged a preset and its data."""
    client, experiment = connect(home, "logged")
    found = str(client.create_run(experiment).info.run_id)
    (tmp_path / "new.tsv").write_text("ham\tare you there\nspam\twin a prize\n", "utf-8")
    source = {
        "url": f"runs:/{found}/data/new.tsv",
        "format": "tsv",
        "header": False,
        "columns": {"label": 0, "text": 1},
    }
    preset = load_config("spam-demo").recorded() | {"source": source}
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(preset), "utf-8")
    client.log_artifact(found, str(tmp_path / "new.tsv"), "data")
    client.log_artifact(found, str(tmp_path / "again.yaml"))
    return found


def test_a_file_of_a_run_is_fetched_once(home: Path, run_id: str) -> None:
    found = run_file(f"runs:/{run_id}/data/new.tsv", home)
    assert found.read_text("utf-8").startswith("ham\tare you there")
    connect(home, "logged")[0].log_text(run_id, "something else", "data/new.tsv")
    assert run_file(f"runs:/{run_id}/data/new.tsv", home).read_text("utf-8").startswith("ham\tare you there")


@pytest.mark.parametrize("path", ["nothing.tsv", "data", "data/../again.yaml", "../../mlflow.db"])
def test_what_is_no_file_is_said_and_nothing_is_left(home: Path, run_id: str, path: str) -> None:
    with pytest.raises(TrackingError, match=path):
        run_file(f"runs:/{run_id}/{path}", home)
    assert not [each for each in (home / "downloads").rglob("*") if each.is_file()]


@pytest.mark.ci
def test_a_preset_of_a_run_trains_on_data_of_a_run(home: Path, run_id: str) -> None:
    config = load_config(f"runs:/{run_id}/again.yaml", ["train.epochs=2"])
    assert isinstance(config, ClassificationConfig)
    assert (config.name, config.train.epochs) == ("spam-demo", 2)
    facts = download(config.source, home / "downloads", None, home / "out")
    assert (facts["rows"], facts["url"]) == (2, f"runs:/{run_id}/data/new.tsv")


def test_a_run_that_has_no_such_file_is_said(home: Path, run_id: str) -> None:
    with pytest.raises(TrackingError, match=r"no\.yaml"):
        load_config(f"runs:/{run_id}/no.yaml")
    with pytest.raises(ConfigError, match="there is no file"):
        load_config("runs:/nobody/again.yaml")
    with pytest.raises(TrackingError, match="there is no run"):
        download(SourceConfig(url=f"runs:/{'0' * 32}/new.tsv"), home / "downloads", None, home / "out")
