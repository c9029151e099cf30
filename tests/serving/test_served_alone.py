"""A logged model works where neither Gradus nor this checkout is: its own requirements are all it needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from components.model.saved import load_classifier
from components.tracking.packaging import write_model

TEXTS = ["WINNER!! Claim your prize now", "see you at 5", "", "grüße"]
SCRIPT = """
import json, sys
import mlflow.pyfunc
model = mlflow.pyfunc.load_model(sys.argv[1])
import components
result = model.predict(json.loads(sys.argv[2]))
print(json.dumps({"code": components.__file__, "prediction": result.to_dict("list")}))
"""


def predict_alone(python: Path, model: Path, folder: Path) -> dict[str, object]:
    """Load and run a model in a process of its own that sees nothing of this checkout."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MLFLOW", "GRADUS"))
    }
    environment |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "OMP_NUM_THREADS": "1"}
    folder.mkdir()
    command = [str(python), "-I", "-c", SCRIPT, str(model), json.dumps(TEXTS)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def model(saved_model: Path, tmp_path: Path) -> Path:
    write_model(tmp_path / "logged", saved_model, ["ham", "spam"], TEXTS[:2], run_id=None)
    return tmp_path / "logged"


def check(result: dict[str, object], model: Path, saved_model: Path) -> None:
    assert Path(str(result["code"])).is_relative_to(model), "the code that ran is the model's own"
    expected = load_classifier(saved_model).predict(TEXTS)
    found = pd.DataFrame(result["prediction"])
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=0, atol=1e-6)


def test_it_runs_its_own_code_in_an_empty_folder(model: Path, saved_model: Path, tmp_path: Path) -> None:
    check(predict_alone(Path(sys.executable), model, tmp_path / "empty"), model, saved_model)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_needs_nothing_but_its_own_requirements(model: Path, saved_model: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "-r", model / "requirements.txt"]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    absent = (
        "import importlib.util as u; assert not any(map(u.find_spec, ['components', 'prefect', 'great_expectations']))"
    )
    subprocess.run([python, "-I", "-c", absent], check=True, cwd=tmp_path)
    check(predict_alone(python, model, tmp_path / "empty"), model, saved_model)
