import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.core.errors import TrackingError
from components.models.saved.classifier import load_classifier
from components.tracking.config import TrackingConfig
from components.tracking.registry.finding import (
    download_model_folder,
    find_version,
    get_version,
    model_exists,
    resolve_model,
    version_by_alias,
)
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import Run, open_run

QUIET = TrackingConfig(system_metrics=False)
NAME = "to be found"


@pytest.fixture(scope="module")
def logged(home: Path, saved_model: Path) -> tuple[Run, dict[str, Any]]:
    with open_run(QUIET, home, "found", {}) as run:
        return run, log_package(run, classifier_package(saved_model, ["a"]), NAME, tags={"digest": "1"})


@pytest.mark.ci
def test_every_way_to_name_a_model_leads_to_the_same_folder(
    logged: tuple[Run, dict[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, model = logged
    expected = resolve_model(model["model_uri"], home)
    assert (Path(expected) / "MLmodel").is_file()
    names = [
        run.run_id,
        f"runs:/{run.run_id}",
        f"runs:/{run.run_id}/model",
        f"models:/{NAME}@candidate",
        f"models:/{NAME}/{model['version']}",
        f"models:/{NAME}/latest",
        expected,
    ]
    assert {resolve_model(name, home) for name in names} == {expected}
    monkeypatch.chdir(Path(expected).parent)
    assert resolve_model(Path(expected).name, home) == expected


@pytest.mark.parametrize(
    "name",
    [
        "0" * 32,
        f"runs:/{'0' * 32}/model",
        "models:/nobody@candidate",
        f"models:/{NAME}@champion",
        f"models:/{NAME}/99",
        "models:/nobody/latest",
        f"models:/m-{'0' * 32}",
        "models:/nobody",
        "no/such/folder",
        "spam",
    ],
)
def test_a_model_that_is_not_there_is_one_line_with_a_way_out(
    logged: tuple[Run, dict[str, Any]], home: Path, name: str
) -> None:
    with pytest.raises(TrackingError) as caught:
        resolve_model(name, home)
    message = str(caught.value)
    assert "\n" not in message
    assert name.removeprefix("runs:/").split("/")[0] in message
    assert "models:/NAME@ALIAS" in message


def test_a_run_without_a_model_says_so(home: Path) -> None:
    with pytest.raises(ValueError, match="stop"), open_run(QUIET, home, "empty", {}) as run:
        raise ValueError("stop")
    with pytest.raises(TrackingError, match=r"run [0-9a-f]+ \(failed\) has no model"):
        resolve_model(run.run_id, home)


@pytest.mark.ci
def test_a_run_that_was_cached_leads_to_the_run_it_was_cached_from(
    logged: tuple[Run, dict[str, Any]], home: Path
) -> None:
    with open_run(QUIET, home, "cached", {}, {"cached_from": logged[0].run_id}) as run:
        pass
    assert resolve_model(run.run_id, home) == resolve_model(logged[0].run_id, home)


def test_versions_and_aliases(logged: tuple[Run, dict[str, Any]]) -> None:
    client, version = logged[0].client, str(logged[1]["version"])
    assert model_exists(client, NAME, version)
    assert model_exists(client, NAME, "latest")
    assert not model_exists(client, NAME, "99")
    assert not model_exists(client, "nobody", "1")
    assert get_version(client, "it's nobody", "latest") is None
    assert version_by_alias(client, NAME, "champion") is None
    client.set_registered_model_alias(NAME, "champion", version)
    found = version_by_alias(client, NAME, "champion")
    assert found is not None
    assert str(found.version) == version
    client.delete_registered_model_alias(NAME, "champion")


@pytest.mark.ci
def test_a_model_of_which_the_files_are_gone_does_not_count(home: Path, saved_model: Path) -> None:
    with open_run(QUIET, home, "lost", {}) as run:
        model = log_package(run, classifier_package(saved_model, ["a"]), "lost", tags={"digest": "2"})
    assert find_version(run.client, "lost", {"digest": "2"}) is not None
    shutil.rmtree(resolve_model(model["model_uri"], home))
    assert find_version(run.client, "lost", {"digest": "2"}) is None
    assert not model_exists(run.client, "lost", "1")
    with pytest.raises(TrackingError, match="gone"):
        resolve_model("models:/lost/1", home)


def test_the_saved_classifier_of_a_model_can_be_copied_for_a_new_run(
    logged: tuple[Run, dict[str, Any]], home: Path, saved_model: Path, tmp_path: Path
) -> None:
    copy = download_model_folder(f"models:/{NAME}@candidate", home, tmp_path / "new" / "weights")
    assert {path.name for path in copy.iterdir()} == {path.name for path in saved_model.iterdir()}
    pd.testing.assert_frame_equal(load_classifier(copy).predict(["a"]), load_classifier(saved_model).predict(["a"]))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["weights"]


def test_a_folder_without_a_classifier_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="holds no model that Gradus saved"):
        download_model_folder(str(tmp_path), home, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
