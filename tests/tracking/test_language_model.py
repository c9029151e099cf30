"""A language model in MLflow: it loads without Gradus, answers tables, and says what it needs."""

import ast
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from components.models.saved.language_model import load_gpt
from components.serving.language_model import DEFAULTS, load_responder
from components.tracking.config import TrackingConfig
from components.tracking.names import CANDIDATE
from components.tracking.registry.finding import download_model_folder, resolve_model
from components.tracking.registry.packages import language_model_package, requirements
from components.tracking.registry.publishing import log_package
from components.tracking.runs import Run, open_run

QUIET = TrackingConfig(system_metrics=False, experiment="language models")
NAME = "responder"
ROWS = [{"instruction": "Name a colour.", "input": ""}, {"instruction": "Give the plural.", "input": "mouse"}]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def logged(home: Path, saved_gpt: Path) -> tuple[Run, dict[str, Any]]:
    with open_run(QUIET, home, "instruct", {"train": {"epochs": 2}}) as run:
        run.metrics({"test/score": 55.0, "start/test/score": 3.0, "curve/train_loss": 0.1}, 10)
        return run, log_package(
            run, language_model_package(saved_gpt, ROWS), NAME, "**55** of 100", {"gradus.data_digest": "abc"}
        )


@pytest.fixture(scope="module")
def folder(logged: tuple[Run, dict[str, Any]], home: Path) -> Path:
    return Path(resolve_model(logged[1]["model_uri"], home))


@pytest.mark.ci
def test_it_is_a_candidate_of_its_kind_with_its_scores(logged: tuple[Run, dict[str, Any]]) -> None:
    run, model = logged
    version = run.client.get_model_version_by_alias(NAME, CANDIDATE)
    assert (str(version.version), version.description) == (model["version"], "**55** of 100")
    assert version.tags["gradus.data_digest"] == "abc"
    entry = run.client.get_logged_model(model["model_uri"].removeprefix("models:/"))
    assert (entry.model_type, str(entry.status)) == ("instruction", "READY")
    assert {metric.key for metric in entry.metrics} == {"test/score", "start/test/score"}
    assert "follows instructions" in run.client.get_registered_model(NAME).description


@pytest.mark.ci
def test_what_it_needs_is_inside_and_nothing_else(folder: Path) -> None:
    sources = {path.relative_to(folder).as_posix() for path in (folder / "code").rglob("*.py")}
    (package,) = (path.name for path in (folder / "code").iterdir())
    assert {f"code/{package}/serving/language_model.py", f"code/{package}/prompts.py"} <= sources
    areas = {name.split("/")[2] for name in sources}
    assert not areas & {"tracking", "data", "training", "judging", "evaluation", "tasks.py", "steps.py"}
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {
        *(".safetensors", ".json", ".tiktoken", ".py", ".txt", ".yaml", ""),
    }
    versions = dict(line.split("==") for line in (folder / "requirements.txt").read_text().split())
    assert [f"{name}=={number}" for name, number in versions.items()] == requirements()
    assert versions["torch"] == importlib.metadata.version("torch").partition("+")[0]
    versions |= {"mlflow": versions.pop("mlflow-skinny"), "yaml": versions.pop("pyyaml")}
    # The hub and GGUF files are where training starts from, never read by a model that has weights of its own.
    assert imported(folder / "code") <= versions.keys() | {package, "huggingface_hub", "gguf"}


def imported(code: Path) -> set[str]:
    """Return the packages that source files import, but for Python's own."""
    nodes = [node for path in code.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    names = {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)


@pytest.mark.ci
def test_its_signature_names_columns_and_parameters_with_the_defaults_of_serving(folder: Path) -> None:
    from mlflow.models import Model

    model = Model.load(folder)
    columns = {column.name: column.required for column in model.get_input_schema().inputs}
    assert columns == {"instruction": False, "input": False, "messages": False}
    assert model.get_output_schema().input_names() == ["response"]
    defaults = {param.name: param.default for param in model.signature.params.params}
    assert defaults == {name: getattr(DEFAULTS, name) for name in defaults}
    assert defaults.keys() >= {"max_new_tokens", "temperature", "top_k", "top_p", "batch_size"}
    example = json.loads((folder / "input_example.json").read_text())
    assert example == {"columns": ["instruction", "input"], "data": [[*row.values()] for row in ROWS]}


@pytest.mark.ci
def test_mlflow_loads_it_without_pickle_and_it_answers_as_before(
    folder: Path, saved_gpt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setattr(sys, "path", sys.path)
    model = mlflow.pyfunc.load_model(str(folder))
    short = DEFAULTS.model_copy(update={"max_new_tokens": 8})
    instructions, inputs = [row["instruction"] for row in ROWS], [row["input"] for row in ROWS]
    expected = load_responder(saved_gpt).respond(instructions, inputs, short)[["response"]]
    answered = model.predict(pd.DataFrame(ROWS, index=[7, 3]), params={"max_new_tokens": 8})
    assert answered["response"].tolist() == expected["response"].tolist()
    assert answered.index.tolist() == [7, 3]
    only = pd.DataFrame({"instruction": instructions[:1]})
    assert model.predict(only, params={"max_new_tokens": 8})["response"].tolist() == expected["response"].tolist()[:1]
    drawn = {"max_new_tokens": 8, "temperature": 1.0, "top_k": 5, "top_p": 0.9, "batch_size": 1}
    assert len(model.predict(pd.DataFrame(ROWS), params=drawn)) == 2


@pytest.mark.slow
def test_it_answers_where_gradus_is_not_installed(tmp_path: Path, saved_gpt: Path) -> None:
    language_model_package(saved_gpt, ROWS).write(tmp_path / "alone", None)
    script = (
        "import sys\n"
        f"sys.path[:] = [path for path in sys.path if path != {str(ROOT)!r}]\n"
        "import mlflow.pyfunc, pandas\n"
        f"model = mlflow.pyfunc.load_model({str(tmp_path / 'alone')!r})\n"
        "table = pandas.DataFrame({'instruction': ['Name a colour.']})\n"
        "print(len(model.predict(table, params={'max_new_tokens': 4})))\n"
        "print(next(module.__file__ for name, module in sys.modules.items() if name.startswith('gradus_model_')))\n"
    )
    command = [sys.executable, "-I", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows, where = done.stdout.split("\n")[:2]
    assert rows == "1"
    assert Path(where).is_relative_to(tmp_path / "alone")


def test_its_saved_folder_can_be_the_start_of_a_new_run(
    logged: tuple[Run, dict[str, Any]], home: Path, saved_gpt: Path, tmp_path: Path
) -> None:
    copy = download_model_folder(f"models:/{NAME}@{CANDIDATE}", home, tmp_path / "weights")
    assert {path.name for path in copy.iterdir()} == {path.name for path in saved_gpt.iterdir()}
    assert load_gpt(copy).card == load_gpt(saved_gpt).card
