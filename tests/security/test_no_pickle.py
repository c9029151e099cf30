"""A pickle runs code when it is loaded: none is, wherever a file comes in."""

import pickle
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from components.core.errors import GradusError
from components.core.records import Manifest
from components.core.store import MANIFEST, Store
from components.data.sources import SourceConfig
from components.data.tables import read_batches
from components.judging.cache import Cache
from components.judging.verdicts import scored
from components.models.pretrained.files import find_weights
from components.serving.load import load_model
from components.training.checkpoints import STATE, read_checkpoint
from tests.fuzz.targets import one_line
from tests.fuzz.weights import TARGETS, own_files
from tests.security.pickles import FORMS, of_torch, plain

Write = Callable[[Path], bytes]
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=[*FORMS])


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What a pickle makes that is loaded; after the test it is not there."""
    return tmp_path / "mark"


@pytest.fixture(autouse=True)
def _nothing_ran(mark: Path, request: pytest.FixtureRequest) -> Any:
    yield
    assert mark.exists() == ("control" in request.node.name)


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(GradusError) as caught:
        action()
    assert one_line(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", ["pickle", "torch of former years", "torch", "numpy"])
def test_control_they_run_where_they_are_loaded(form: str, mark: Path, tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(FORMS[form](mark))
    with suppress(Exception):
        if form.startswith("torch"):
            torch.load(path, weights_only=False)
        elif form == "numpy":
            np.load(path, allow_pickle=True)
        else:
            pickle.loads(path.read_bytes())


@every_form
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "weights.pkl"])
def test_as_weights(name: str, form: Write, mark: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "model").mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    (folder / name).write_bytes(form(mark))
    assert "convert the weights to safetensors" in refused(lambda: find_weights(str(folder), tmp_path, None))
    assert "never read" in refused(lambda: find_weights(str(folder / name), tmp_path, None))


@every_form
@pytest.mark.parametrize("name", TARGETS)
def test_under_the_name_of_what_is_read(name: str, form: Write, mark: Path) -> None:
    assert not TARGETS[name].check(form(mark))


@every_form
@pytest.mark.parametrize("name", ["own", "adapter"])
def test_as_a_saved_model(name: str, form: Write, mark: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "model").mkdir()
    for each, content in own_files().items():
        (folder / each).write_bytes(content)
    load_model(folder)
    (folder / "model.safetensors").unlink()
    (folder / ("adapter_model.bin" if name == "adapter" else "model.safetensors")).write_bytes(form(mark))
    refused(lambda: load_model(folder))


@every_form
@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
@pytest.mark.parametrize("name", ["data.pkl", "data.npy"])
def test_as_data(name: str, kind: str, form: Write, mark: Path, tmp_path: Path) -> None:
    (path := tmp_path / name).write_bytes(form(mark))
    source = SourceConfig.model_validate({"url": str(path), "format": kind})
    if form(mark).startswith(b"PAR1") and kind == "parquet":
        (batch,) = read_batches(path, source)
        assert batch["text"].to_pylist() == ["free prize", "see you"]
    else:
        refused(lambda: list(read_batches(path, source)))


@every_form
def test_as_the_verdicts_of_a_judge(form: Write, mark: Path, tmp_path: Path) -> None:
    (path := tmp_path / "verdicts.sqlite").write_bytes(form(mark))
    with Cache(path) as cache:
        assert cache.find(["key"]) == {}
        kept = scored(50, pickle.dumps(0).decode("latin-1"))
        assert cache.keep({"key": kept}) == {"key": kept}


@every_form
def test_as_an_entry_of_the_store(form: Write, mark: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store/step" / ("0" * 32)
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(form(mark))
    store = Store(tmp_path / "store")
    assert store.find("step", "0" * 32) is None

    def write(out: Path) -> dict[str, Any]:
        (out / "result.bin").write_bytes(form(mark))
        return {}

    store.produce("step", "0" * 32, write)
    assert isinstance(store.find("step", "0" * 32), Manifest)


@every_form
def test_as_a_checkpoint(form: Write, mark: Path, tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(form(mark))
    trainer: Any = SimpleNamespace(best=None)
    assert not read_checkpoint(tmp_path, trainer)


@pytest.mark.parametrize("flavor", ["mlflow.pyfunc.model", "mlflow.sklearn", "mlflow.pytorch"])
def test_in_a_logged_model_of_others(flavor: str, mark: Path, tmp_path: Path) -> None:
    folder = logged(tmp_path / "model", flavor, mark)
    assert "holds no" in refused(lambda: load_model(folder))


def test_beside_a_model_that_is_ours(saved_model: Path, mark: Path, tmp_path: Path) -> None:
    folder = logged(tmp_path / "model", "mlflow.pyfunc.model", mark)
    shutil.copytree(saved_model, folder / "artifacts/model")
    (folder / "artifacts/model/pytorch_model.bin").write_bytes(of_torch(mark))
    assert load_model(folder)


def logged(folder: Path, flavor: str, mark: Path) -> Path:
    """Write an MLflow model that is a pickle, as its other flavours are."""
    folder.mkdir()
    described = {"loader_module": flavor, "python_model": "python_model.pkl", "model_path": "python_model.pkl"}
    described |= {"data": "python_model.pkl", "pickled_model": "python_model.pkl", "cloudpickle_version": "3.1.1"}
    (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {"python_function": described}}))
    (folder / "python_model.pkl").write_bytes(plain(mark))
    return folder
