"""A logged model works where neither Gradus nor this checkout is: its own requirements are all it needs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.models.saved.classifier import load_classifier
from components.serving.language_model import load_responder
from components.tracking.registry.packages import classifier_package, language_model_package

TEXTS = ["WINNER!! Claim your prize now", "see you at 5", "", "grüße"]
ENTRIES = {"instruction": ["Say hello", "Name a bird", "grüße"], "input": ["", "in winter", ""]}
SCRIPT = """
import json, sys
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
data = json.loads(sys.argv[2])
result = model.predict(pandas.DataFrame(data) if isinstance(data, dict) else data)
(package,) = [each for name, each in sys.modules.items() if name.startswith("gradus_model_") and "." not in name]
assert "components" not in sys.modules
print(json.dumps({"code": package.__file__, "prediction": result.to_dict("list")}))
"""


def predict_alone(python: Path, model: Path, data: Any, folder: Path) -> pd.DataFrame:
    """Load and run a model in a process of its own that sees nothing of this checkout."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MLFLOW", "GRADUS"))
    }
    environment |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "OMP_NUM_THREADS": "1"}
    folder.mkdir()
    command = [str(python), "-I", "-c", SCRIPT, str(model), json.dumps(data)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    result = json.loads(done.stdout.splitlines()[-1])
    assert Path(result["code"]).is_relative_to(model), "the code that ran is the model's own"
    return pd.DataFrame(result["prediction"])


@pytest.fixture
def classifier(saved_model: Path, tmp_path: Path) -> Path:
    classifier_package(saved_model, TEXTS[:2]).write(tmp_path / "classifier", run_id=None)
    return tmp_path / "classifier"


@pytest.fixture
def responder(saved_language_model: Path, tmp_path: Path) -> Path:
    rows = pd.DataFrame(ENTRIES).to_dict("records")
    language_model_package(saved_language_model, rows[:2]).write(tmp_path / "responder", run_id=None)
    return tmp_path / "responder"


def check_classifier(found: pd.DataFrame, saved_model: Path) -> None:
    expected = load_classifier(saved_model).predict(TEXTS)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=0, atol=1e-6)


def check_responder(found: pd.DataFrame, saved: Path) -> None:
    expected = load_responder(saved).respond(ENTRIES["instruction"], ENTRIES["input"])
    assert found["response"].tolist() == expected["response"].tolist()


@pytest.mark.ci
def test_a_classifier_runs_its_own_code_in_an_empty_folder(classifier: Path, saved_model: Path, tmp_path: Path) -> None:
    check_classifier(predict_alone(Path(sys.executable), classifier, TEXTS, tmp_path / "empty"), saved_model)


@pytest.mark.ci
def test_a_language_model_runs_its_own_code_in_an_empty_folder(
    responder: Path, saved_language_model: Path, tmp_path: Path
) -> None:
    found = predict_alone(Path(sys.executable), responder, ENTRIES, tmp_path / "empty")
    check_responder(found, saved_language_model)


@pytest.mark.ci
def test_a_language_model_brings_what_answering_needs_and_nothing_else(responder: Path) -> None:
    (code,) = (responder / "code").iterdir()
    folders = {path.relative_to(code).parts[0] for path in code.rglob("*.py") if path.parent != code}
    assert folders == {"core", "generation", "models", "serving"}
    assert (code / "prompts.py").is_file()
    assert not (code / "generation" / "responses.py").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_they_need_nothing_but_their_own_requirements(
    classifier: Path, saved_model: Path, responder: Path, saved_language_model: Path, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    for model in (classifier, responder):
        install = [python, "-m", "pip", "install", "--quiet", "-r", model / "requirements.txt"]
        done = subprocess.run(install, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    absent = (
        "import importlib.util as u; assert not any(map(u.find_spec, ['components', 'prefect', 'great_expectations']))"
    )
    subprocess.run([python, "-I", "-c", absent], check=True, cwd=tmp_path)
    check_classifier(predict_alone(python, classifier, TEXTS, tmp_path / "empty"), saved_model)
    check_responder(predict_alone(python, responder, ENTRIES, tmp_path / "empty too"), saved_language_model)
