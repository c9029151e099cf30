"""A file of a logged model that is not as it was written is named, whoever loads the model."""

import re
import shutil
from pathlib import Path

import mlflow.pyfunc
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from components.core.errors import WeightsError
from components.core.integrity import HASHES, find_damage
from components.serving.load import load_model
from components.tracking.registry.packages import classifier_package, language_model_package

TEXTS = ["WINNER!!", "see you"]


@pytest.fixture(scope="module")
def originals(
    saved_model: Path, saved_language_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("logged")
    classifier_package(saved_model, TEXTS).write(folder / "classifier", run_id=None)
    language_model_package(saved_language_model, [{"instruction": "Say"}]).write(folder / "responder", run_id=None)
    return {"classifier": folder / "classifier", "responder": folder / "responder"}


@pytest.fixture(params=["classifier", "responder"])
def logged(request: pytest.FixtureRequest, originals: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a logged model, of either kind."""
    return shutil.copytree(originals[request.param], tmp_path / "logged")


def flip(path: Path, place: int = -2) -> None:
    """Change the lowest bit of a byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.ci
def test_what_was_written_is_undamaged_and_every_file_is_known(logged: Path) -> None:
    assert find_damage(logged) is None
    load_model(logged)
    for path in sorted(path for path in logged.rglob("*") if path.is_file() and path.name != "MLmodel"):
        name = path.relative_to(logged).as_posix()
        kept = path.read_bytes()
        flip(path, 0)
        changed = find_damage(logged)
        assert changed == f"{name} has changed" or (path.name == HASHES and changed)
        path.unlink()
        assert find_damage(logged) == f"{name} is gone"
        path.write_bytes(kept)
    assert find_damage(logged) is None


@pytest.mark.ci
@pytest.mark.parametrize(
    "pattern",
    ["model.safetensors", "vocabulary.tiktoken", "model.json", "tokenizer.json", "code/**/gpt.py", "gradus_model.py"],
)
def test_a_flipped_byte_is_named_by_gradus_and_by_mlflow(logged: Path, pattern: str) -> None:
    path = next(iter(logged.rglob(pattern)), None)
    if path is None:
        pytest.skip(f"this kind has no {pattern}")
    flip(path)
    named = re.escape(f"{path.relative_to(logged).as_posix()} has changed since")
    with pytest.raises(WeightsError, match=named) as refused:
        load_model(logged)
    assert "\n" not in str(refused.value)
    with pytest.raises(WeightsError, match=named):
        load_model(next((logged / "artifacts").iterdir()))
    if path.name != "gradus_model.py":  # which checks the others: a flip may keep it from being run at all
        with pytest.raises(MlflowException, match=named) as refused:
            mlflow.pyfunc.load_model(str(logged))
        assert "\n" not in str(refused.value)


@pytest.mark.ci
def test_what_mlflow_itself_may_write_anew_is_no_damage(logged: Path) -> None:
    described = Model.load(logged)
    described.run_id, described.model_id, described.artifact_path = "1" * 32, "m-" + "2" * 32, "/elsewhere"
    described.save(logged / "MLmodel")
    (logged / "registered_model_meta").write_text("model_name: spam\n")
    assert find_damage(logged) is None
    (logged / "requirements.txt").write_text("numpy\n")  # as `mlflow.models.update_model_requirements` does
    mlflow.pyfunc.load_model(str(logged))
    assert find_damage(logged) == "requirements.txt has changed"


@pytest.mark.ci
def test_its_description_decides_how_it_is_run_and_is_checked(logged: Path) -> None:
    description = logged / "MLmodel"
    description.write_text(
        description.read_text().replace("InstructionResponder", "Responder").replace("double", "float")
    )
    with pytest.raises(WeightsError, match="MLmodel has changed"):
        load_model(logged)
    description.write_text(":\n- [")
    assert find_damage(logged) == "MLmodel has changed"


def test_a_model_that_has_hashes_does_not_load_without_them(logged: Path) -> None:
    (logged / HASHES).unlink()
    with pytest.raises(WeightsError, match=r"hashes\.json is gone"):
        load_model(logged)
    with pytest.raises(MlflowException, match=r"hashes\.json is gone"):
        mlflow.pyfunc.load_model(str(logged))
