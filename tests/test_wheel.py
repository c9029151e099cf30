"""The built wheel works where this checkout is not: it runs the command, and a flow that a user wrote."""

import csv
import json
import os
import re
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tests.serving.models import save_language_model

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "own_flow.md"
SETTINGS = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(PATIENCE),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_OFFLINE": "1",
}

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, homes: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that knows nothing of this checkout; it must exit with 0. `homes` holds what it keeps."""
    ours = ("PYTHON", "GRADUS", "PREFECT", "MLFLOW")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    environment |= SETTINGS | {"GRADUS_HOME": str(homes / "gradus"), "PREFECT_HOME": str(homes / "prefect")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tracked files: nothing that merely lies about gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in tracked_files():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / "source" / name)
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist")
    run(*build, cwd=folder / "source", homes=folder)
    (built,) = (folder / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a virtual environment that holds the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder, homes=folder)
    scripts = folder / "venv" / "bin"
    pip = (scripts / "python", "-m", "pip", "install", "--quiet")
    run(*pip, "--constraint", ROOT / "constraints.txt", wheel, cwd=folder, homes=folder)
    return scripts


@pytest.fixture(scope="module")
def environments(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two virtual environments that see the libraries of this one: with the wheel, and without Gradus."""
    folder = tmp_path_factory.mktemp("environments")
    for name in ("with", "without"):
        run(sys.executable, "-m", "venv", folder / name, cwd=folder, homes=folder)
        (packages,) = (folder / name).glob("lib/python*/site-packages")
        (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()))  # which reads no .pth in there
    pip = (folder / "with" / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, wheel, cwd=folder, homes=folder)
    return folder / "with" / "bin" / "python", folder / "without" / "bin" / "python"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_it_holds_the_two_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packaged = {name for name in names if ".dist-info/" not in name}
    assert packaged == {name for name in tracked_files() if name.startswith(("pipelines/", "components/"))}
    assert packaged >= {
        "pipelines/py.typed",
        "pipelines/kinds/classification/presets/spam-demo.yaml",
        "pipelines/promoting/rules.yaml",
        "components/py.typed",
        "components/data/validation/report.html",
        "components/data/samples/spam.tsv",
        "components/data/samples/vocabulary.tiktoken",
        "components/data/samples/instructions.json",
        "components/data/samples/instructions.tiktoken",
        "components/judging/rubric.yaml",
        "components/reporting/instruction.html",
        "components/reporting/model_card.jinja",
        "components/reporting/report_base.html",
        "components/reporting/report_parts.html",
    }
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_command_runs_the_demo(scripts: Path, empty: Path, tmp_path: Path) -> None:
    done = run(
        scripts / "gradus", "run", "spam-demo", "--json", "--set", "train.max_steps=20", cwd=empty, homes=tmp_path
    )
    result = json.loads(done.stdout)
    assert (result["status"], result["cached_steps"]) == ("FINISHED", [])
    assert "test/balanced_accuracy" in result["metrics"]
    assert "Traceback" not in done.stderr
    assert list(empty.iterdir()) == [], "what a run leaves goes to GRADUS_HOME"


def test_a_users_own_flow_prints_what_its_page_says(scripts: Path, empty: Path, tmp_path: Path) -> None:
    page = PAGE.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (promised,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert len(code.splitlines()) <= 15
    (empty / "own_flow.py").write_text(code)
    write_messages(empty / "messages.csv")

    first = run(scripts / "python", "own_flow.py", cwd=empty, homes=tmp_path)
    assert first.stdout == promised
    assert "unchanged" not in first.stderr
    second = run(scripts / "python", "own_flow.py", cwd=empty, homes=tmp_path)
    assert second.stdout == promised
    assert second.stderr.count("unchanged, taken from the store") == 3


PACKAGE = """
import sys
from pathlib import Path
from components.tracking.registry.packages import classifier_package, language_model_package
classifier, responder, target = map(Path, sys.argv[1:])
classifier_package(classifier, ["a prize"]).write(target / "classifier", run_id=None)
language_model_package(responder, [{"instruction": "Say hello"}]).write(target / "responder", run_id=None)
"""
ASK = """
import sys, mlflow.pyfunc, pandas
data = pandas.DataFrame({"text": ["a prize"], "instruction": ["Say hello"], "input": [""]})
answers = {}
for folder in sys.argv[1:]:
    model = mlflow.pyfunc.load_model(folder)
    columns = ["text"] if "classifier" in folder else ["instruction", "input"]
    answers[folder] = model.predict(data[columns]).to_csv()
try:
    import components
    print(components.__file__)
except ImportError:
    print(None)
print([answers[folder] for folder in sorted(answers)])
"""


def test_logged_models_load_beside_each_other_and_whatever_is_called_components(
    environments: tuple[Path, Path], saved_model: Path, empty: Path, tmp_path: Path
) -> None:
    installed, alone = environments
    language_model = save_language_model(tmp_path / "tuned")
    for name in ("old", "new"):
        run(installed, "-c", PACKAGE, saved_model, language_model, tmp_path / name, cwd=empty, homes=tmp_path)
        (served,) = installed.parents[1].glob("lib/python*/site-packages/components/serving/responder.py")
        served.write_text(served.read_text() + "\n# another version\n")
    packages = [path.name for path in tmp_path.glob("*/*/code/gradus_model_*")]
    assert len(packages) == 4
    assert len(set(packages)) == 3, "what did not change has the same name"

    models = [tmp_path / name / kind for name in ("old", "new") for kind in ("classifier", "responder")]
    own = tmp_path / "own" / "components" / "__init__.py"
    own.parent.mkdir(parents=True)
    own.write_text("")
    said = set()
    for python, order, cwd in (
        (installed, models, empty),
        (installed, models[::-1], empty),
        (alone, models, empty),
        (alone, models[::-1], own.parents[1]),
    ):
        where, answers = run(python, "-c", ASK, *order, cwd=cwd, homes=tmp_path).stdout.splitlines()[-2:]
        said.add(answers)
        inside = python.parents[1] if python == installed else own.parents[1]
        assert where == "None" if (python, cwd) == (alone, empty) else Path(where).is_relative_to(inside)
    assert len(said) == 1


def test_where_another_components_hides_it_the_command_says_so(environments: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "components.py").write_text("")
    command = (environments[0].with_name("gradus"), "--help")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"gradus: {tmp_path / 'components.py'} hides Gradus's own package")
    assert len(done.stderr.splitlines()) == 1


def write_messages(path: Path) -> None:
    """Write 60 messages, half of them spam, no two of which are alike but for digits."""
    words = ["apple", "bread", "candle", "dinner", "evening", "forest"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for word in words:
            for thing in ("cheap", "quick", "great", "sweet", "sunny"):
                writer.writerow([f"see you, {thing} {word}", "ham"])
                writer.writerow([f"WINNER! {thing} {word}, claim it now", "spam"])
