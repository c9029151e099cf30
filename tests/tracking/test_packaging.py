import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.core.errors import TrackingError
from components.core.integrity import write_hashes
from components.core.records import sha256_of
from components.models.saved.classifier import load_classifier
from components.tracking.config import TrackingConfig
from components.tracking.names import CANDIDATE, HASHES_TAG
from components.tracking.recording import log_inputs
from components.tracking.registry.finding import download_model_folder, find_version, resolve_model, version_source
from components.tracking.registry.packages import classifier_package, requirements
from components.tracking.registry.publishing import log_package
from components.tracking.runs import Run, open_run

TEXTS = ["WINNER!! Claim your prize now", "see you at 5", "", "grüße"]
QUIET = TrackingConfig(system_metrics=False)
NAME = "spam"


@pytest.fixture(scope="module")
def logged(home: Path, saved_model: Path) -> tuple[Run, dict[str, Any]]:
    table = home / "test.parquet"
    pd.DataFrame({"text": TEXTS}).to_parquet(table)
    with open_run(QUIET, home, "spam-demo", {"train": {"epochs": 2}}) as run:
        log_inputs(run, {"test": table}, {"test": sha256_of(table)}, "sample://x", "spam-demo")
        run.metrics({"test/accuracy": 0.9, "curve/train_loss": 0.1}, 10)
        return run, log_package(
            run, classifier_package(saved_model, TEXTS[:2]), NAME, "**90 %** right", {"gradus.data_digest": "abc"}
        )


@pytest.fixture(scope="module")
def folder(logged: tuple[Run, dict[str, Any]], home: Path) -> Path:
    return Path(resolve_model(logged[1]["model_uri"], home))


@pytest.mark.ci
def test_it_is_registered_as_candidate_with_its_origin(logged: tuple[Run, dict[str, Any]]) -> None:
    run, model = logged
    version = run.client.get_model_version_by_alias(NAME, CANDIDATE)
    assert str(version.version) == model["version"]
    assert version.run_id == run.run_id
    assert version.description == "**90 %** right"
    assert version_source(version) == model["model_uri"]
    assert version.tags.items() >= {"gradus.run_id": run.run_id, "gradus.data_digest": "abc"}.items()
    assert "gradus.version" in version.tags


@pytest.mark.ci
def test_its_page_shows_scores_with_their_data_but_no_curves(logged: tuple[Run, dict[str, Any]]) -> None:
    run, model = logged
    entry = run.client.get_logged_model(model["model_uri"].removeprefix("models:/"))
    assert str(entry.status) == "READY"
    assert entry.source_run_id == run.run_id
    assert entry.params["train.epochs"] == "2"
    assert [(metric.key, metric.value, metric.dataset_name) for metric in entry.metrics] == [
        ("test/accuracy", 0.9, "spam-demo")
    ]
    assert len(run.client.get_metric_history(run.run_id, "test/accuracy")) == 1
    assert [output.model_id for output in run.client.get_run(run.run_id).outputs.model_outputs] == [entry.model_id]


def test_nothing_is_pickled_and_nothing_needless_is_inside(folder: Path) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in files} == {
        ".safetensors",
        ".json",
        ".tiktoken",
        ".py",
        ".txt",
        ".yaml",
        "",
    }
    assert {name for name in files if "." not in name} == {"MLmodel"}
    sources = {name for name in files if name.startswith("code/")}
    (package,) = (path.name for path in (folder / "code").iterdir())
    assert package.startswith("gradus_model_")
    assert {f"code/{package}/models/saved/classifier.py", f"code/{package}/__init__.py"} <= sources
    assert not any("tracking" in name or "data/" in name or "training" in name for name in sources)
    assert not any("prefect" in (folder / name).read_text() for name in sources)


def test_the_requirements_are_what_the_code_imports_pinned_without_a_build_suffix(folder: Path) -> None:
    lines = (folder / "requirements.txt").read_text().split()
    assert lines == requirements()
    assert all("+" not in line and "==" in line for line in lines)
    versions = dict(line.split("==") for line in lines)
    assert importlib.metadata.version("torch").partition("+")[0] == versions["torch"]
    imported = set()
    for path in (folder / "code").rglob("*.py"):
        imported |= {line.split()[1].split(".")[0] for line in path.read_text().splitlines() if _is_import(line)}
    versions |= {"mlflow": versions.pop("mlflow-skinny"), "yaml": versions.pop("pyyaml")}
    private = {path.name for path in (folder / "code").iterdir()}
    assert imported - set(sys.stdlib_module_names) - private <= versions.keys()


def _is_import(line: str) -> bool:
    return line.startswith(("import ", "from ")) and len(line.split()) > 1


def test_signature_and_example_are_there(folder: Path) -> None:
    from mlflow.models import Model

    model = Model.load(folder)
    assert [str(column.type) for column in model.get_input_schema().inputs] == ["DataType.string"]
    assert model.get_output_schema().input_names() == ["label", "probability", "p_ham", "p_spam"]
    assert json.loads((folder / "input_example.json").read_text()) == {
        "columns": ["text"],
        "data": [[text] for text in TEXTS[:2]],
    }


@pytest.mark.ci
@pytest.mark.parametrize(
    "given",
    [
        pd.DataFrame({"text": TEXTS}),
        pd.DataFrame({"text": TEXTS, "label": ["?"] * 4}),
        pd.Series(TEXTS, name="text"),
        pd.Series(TEXTS),
        TEXTS,
        np.array(TEXTS, dtype=object),
    ],
    ids=["table", "wider table", "series called text", "series", "list", "array"],
)
def test_mlflow_loads_it_without_pickle_and_it_predicts_as_before(
    folder: Path, saved_model: Path, given: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setattr(sys, "path", sys.path)
    expected = load_classifier(saved_model).predict(TEXTS)
    model = mlflow.pyfunc.load_model(str(folder))
    pd.testing.assert_frame_equal(model.predict(given), expected)
    pd.testing.assert_frame_equal(model.predict(given, params={"batch_size": 1}), expected)


@pytest.mark.ci
def test_input_that_is_no_text_is_refused_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    monkeypatch.setattr(sys, "path", sys.path)
    model = mlflow.pyfunc.load_model(str(folder))
    with pytest.raises(MlflowException, match="no column 'text' but 'label'"):
        model.predict(pd.DataFrame({"label": ["ham"], "text": ["a"]}))
    with pytest.raises(MlflowException, match="1 of 2 texts are missing"):
        model.predict(["a", None])
    with pytest.raises(MlflowException, match="batch_size"):
        model.predict(["a"], params={"batch_size": 0})


def test_the_index_of_the_table_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.pyfunc

    monkeypatch.setattr(sys, "path", sys.path)
    result = mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame({"text": ["a", "b"]}, index=[7, 3]))
    assert result.index.tolist() == [7, 3]


@pytest.mark.ci
def test_a_second_model_is_a_new_version_and_takes_the_alias(
    logged: tuple[Run, dict[str, Any]], home: Path, saved_model: Path
) -> None:
    first_run, first = logged
    with open_run(QUIET, home, "again", {}) as run:
        second = log_package(run, classifier_package(saved_model, TEXTS[:1]), NAME, tags={"gradus.model_digest": "d2"})
    assert int(str(second["version"])) == int(str(first["version"])) + 1
    found = find_version(run.client, NAME, {"gradus.model_digest": "d2"})
    assert found is not None
    assert str(found.version) == second["version"]
    assert str(run.client.get_model_version_by_alias(NAME, CANDIDATE).version) == second["version"]
    assert find_version(run.client, NAME, {"gradus.model_digest": "d3"}) is None
    first_run.client.set_registered_model_alias(NAME, CANDIDATE, first["version"])


def test_without_a_name_it_is_logged_only(home: Path, saved_model: Path) -> None:
    with open_run(QUIET, home, "unnamed", {}) as run:
        model = log_package(run, classifier_package(saved_model, TEXTS[:1]))
    assert model["version"] is None
    assert Path(resolve_model(model["model_uri"], home)).is_dir()


def test_a_run_that_trained_nothing_shows_the_model_of_another(logged: tuple[Run, dict[str, Any]], home: Path) -> None:
    with open_run(QUIET, home, "cached", {}) as run:
        run.record("link", model_uri=logged[1]["model_uri"], name=None, version=None, cached_from=None)
    assert resolve_model(run.run_id, home) == resolve_model(logged[0].run_id, home)


def test_half_a_model_is_marked_failed_and_not_registered(home: Path, saved_model: Path) -> None:
    with pytest.raises(TrackingError, match="no room left in"), open_run(QUIET, home, "half", {}) as run:  # noqa: PT012
        run.client.log_model_artifacts = _refuse  # type: ignore[method-assign]
        log_package(run, classifier_package(saved_model, TEXTS[:1]), "never")
    models = run.client.search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'")
    assert [str(model.status) for model in models] == ["FAILED"]
    assert run.client.search_model_versions("name = 'never'") == []


def _refuse(*_: object) -> None:  # the disk fills up
    raise OSError(28, "No space left on device")


@pytest.mark.ci
def test_the_users_own_project_files_stay_out_of_the_model(
    home: Path, saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'secret'\n")
    (tmp_path / "uv.lock").write_text("version = 1\n")
    monkeypatch.chdir(tmp_path)
    with open_run(QUIET, home, "uv", {}) as run:
        model = log_package(run, classifier_package(saved_model, TEXTS[:1]))
    assert not list(Path(resolve_model(model["model_uri"], home)).glob("*.lock"))
    assert not list(Path(resolve_model(model["model_uri"], home)).glob("pyproject.toml"))


def test_a_registered_model_whose_files_are_damaged_is_not_used(home: Path, saved_model: Path, tmp_path: Path) -> None:
    with open_run(QUIET, home, "damaged", {}) as run:
        model = log_package(
            run, classifier_package(saved_model, TEXTS[:1]), "damaged", tags={"gradus.model_digest": "d"}
        )
    address = f"models:/damaged/{model['version']}"
    folder = Path(resolve_model(address, home))
    version = run.client.get_model_version("damaged", str(model["version"]))
    assert (
        version.tags[HASHES_TAG]
        == run.client.get_logged_model(model["model_uri"].removeprefix("models:/")).tags[HASHES_TAG]
    )
    download_model_folder(address, home, tmp_path / "whole")
    assert find_version(run.client, "damaged", {"gradus.model_digest": "d"})

    (weights,) = folder.rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(TrackingError, match=r"model\.safetensors has changed since models:/damaged/1 was logged"):
        download_model_folder(address, home, tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()
    assert find_version(run.client, "damaged", {"gradus.model_digest": "d"}) is None

    write_hashes(folder)  # the hashes fit again, but they are others
    with pytest.raises(TrackingError, match=r"hashes\.json is not what was logged with models:/damaged/1"):
        resolve_model(address, home)
