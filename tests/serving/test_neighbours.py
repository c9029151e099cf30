"""Logged models in one process: with each other, with Gradus, with a user's own package `components`."""

import ast
import io
import json
import os
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import Any

import pytest

from components.core.versions import closure
from components.models.saved.classifier import load_classifier
from components.serving.language_model import load_responder
from components.serving.load import load_model
from components.tracking.registry import bundling
from components.tracking.registry.bundling import renamed, write_bundle
from components.tracking.registry.packages import CLASSIFIER, LANGUAGE_MODEL, classifier_package, language_model_package

ROOT = Path(__file__).parents[2]
TEXTS = ["WINNER!! Claim your prize now", "see you at 5"]
ROWS = [{"instruction": "Say hello", "input": ""}, {"instruction": "Name a bird", "input": "in winter"}]
ASK = """
import json, sys
{before}
import mlflow.pyfunc, pandas
answers = []
for folder, data in json.loads(sys.argv[1]):
    model = mlflow.pyfunc.load_model(folder)
    answers.append(model.predict(pandas.DataFrame(data)).to_dict("list"))
    {between}
private = sorted({{name.partition(".")[0] for name in sys.modules if name.startswith("gradus_model_")}})
print(json.dumps({{"answers": answers, "private": private, "ours": "components" in sys.modules}}))
{after}
"""
OWN = "VALUE = 'of the user'\n"
CHECK_OWN = "import components; assert components.VALUE == 'of the user', components"


@pytest.fixture(scope="module")
def classifier(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logged") / "classifier"
    classifier_package(saved_model, TEXTS).write(folder, run_id=None)
    return folder


@pytest.fixture(scope="module")
def responder(saved_language_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logged") / "responder"
    language_model_package(saved_language_model, ROWS).write(folder, run_id=None)
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a user's own package `components`."""
    (tmp_path / "own" / "components").mkdir(parents=True)
    (tmp_path / "own" / "components" / "__init__.py").write_text(OWN)
    return tmp_path / "own"


def ask(models: list[Path], path: str = "", before: str = "", between: str = "", after: str = "") -> dict[str, Any]:
    """Load models one after the other in a fresh process, whose PYTHONPATH is `path`, and return what they say."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MLFLOW"))}
    entries = {"instruction": [row["instruction"] for row in ROWS], "input": [row["input"] for row in ROWS]}
    work = [(str(model), {"text": TEXTS} if "classifier" in model.name else entries) for model in models]
    script = ASK.format(before=before, between=between, after=after)
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, json.dumps(work)],
        cwd=models[0].parent,
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def check(found: dict[str, Any], models: list[Path], saved_model: Path, saved_language_model: Path) -> None:
    for answers, model in zip(found["answers"], models, strict=True):
        if "classifier" in model.name:
            expected = load_classifier(saved_model).predict(TEXTS)["label"].tolist()
            assert answers["label"] == expected
        else:
            entries = [row["instruction"] for row in ROWS], [row["input"] for row in ROWS]
            said = load_responder(saved_language_model).respond(*entries)
            assert answers["response"] == said["response"].tolist()


@pytest.mark.ci
@pytest.mark.parametrize("reverse", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_two_kinds_load_in_one_process_beside_a_users_own_components(
    classifier: Path, responder: Path, own: Path, saved_model: Path, saved_language_model: Path, reverse: bool
) -> None:
    models = [responder, classifier] if reverse else [classifier, responder]
    found = ask(models, str(own), before=CHECK_OWN, after=CHECK_OWN)
    check(found, models, saved_model, saved_language_model)
    assert len(found["private"]) == 2


@pytest.mark.slow
def test_a_model_alone_imports_nothing_that_is_called_components(
    classifier: Path, responder: Path, own: Path, saved_model: Path, saved_language_model: Path
) -> None:
    late = ask([classifier, responder], str(own), after=CHECK_OWN)
    check(late, [classifier, responder], saved_model, saved_language_model)
    assert not late["ours"]


@pytest.mark.ci
def test_they_load_beside_gradus(
    classifier: Path, responder: Path, saved_model: Path, saved_language_model: Path
) -> None:
    use = "import components.serving.load as product; import components.tracking.registry.packages"
    for order in ({"before": use}, {"after": use}):
        found = ask([classifier, responder], str(ROOT), **order)
        check(found, [classifier, responder], saved_model, saved_language_model)


@pytest.mark.slow
def test_two_versions_each_run_their_own_code(
    classifier: Path, saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "source" / "components"
    shutil.copytree(ROOT / "components", copy, ignore=shutil.ignore_patterns("__pycache__"))
    changed = copy / "serving" / "classifier.py"
    changed.write_text(
        changed.read_text().replace("return result.set_index(", "return result.assign(label='v2').set_index(")
    )
    monkeypatch.setattr(bundling, "ROOT", copy)
    monkeypatch.setattr(
        bundling,
        "closure",
        lambda module: {name: copy / path.relative_to(ROOT / "components") for name, path in closure(module).items()},
    )
    other = tmp_path / "other_classifier"
    classifier_package(saved_model, TEXTS).write(other, run_id=None)
    found = ask([classifier, other, classifier])
    first, second, third = (answers["label"] for answers in found["answers"])
    assert first == third == load_classifier(saved_model).predict(TEXTS)["label"].tolist()
    assert second == ["v2", "v2"]
    assert len(found["private"]) == 2


@pytest.mark.slow
def test_models_of_one_version_share_their_code_also_if_the_first_is_gone(
    classifier: Path, responder: Path, tmp_path: Path, saved_model: Path, saved_language_model: Path
) -> None:
    models = []
    for original in (classifier, responder):
        models.append(shutil.copytree(original, tmp_path / f"gone_{original.name}"))
    models = [models[0], classifier, models[1], responder]
    found = ask(models, between="import shutil; 'gone' in folder and shutil.rmtree(folder)")
    check(found, models, saved_model, saved_language_model)
    assert len(found["private"]) == 2


@pytest.mark.ci
def test_models_of_the_layout_before_load_still(saved_model: Path, classifier: Path, tmp_path: Path) -> None:
    old = shutil.copytree(classifier, tmp_path / "old")
    shutil.rmtree(old / "code")
    (old / "hashes.json").unlink()
    described = (old / "MLmodel").read_text().replace("metadata:\n  gradus.hashes: hashes.json\n", "")
    (old / "MLmodel").write_text(described)
    (old / "code" / "components").mkdir(parents=True)
    expected = load_classifier(saved_model).predict(TEXTS)
    assert load_model(old).predict(TEXTS).equals(expected)


@pytest.mark.ci
@pytest.mark.parametrize("kind", [CLASSIFIER, LANGUAGE_MODEL])
def test_no_code_in_a_bundle_says_components(kind: Any, tmp_path: Path) -> None:
    bundle = write_bundle(kind.module, tmp_path)
    for path in [bundle.with_name(bundling.ENTRY_FILE), *bundle.rglob("*.py")]:
        text = path.read_text()
        compile(text, path, "exec")
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        assert not [token for token in tokens if token.type == tokenize.NAME and token.string == "components"], path
        documentation = {
            ast.get_docstring(node, clean=False) for node in ast.walk(ast.parse(text)) if _documented(node)
        }
        strings = {node.value for node in ast.walk(ast.parse(text)) if _is_string(node)} - documentation
        prose = {each for each in strings if " " in each}  # what stands under an attribute
        assert not [each for each in strings - prose if each.partition(".")[0] == "components"], path


def _documented(node: ast.AST) -> bool:
    return isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_each_way_to_import_is_renamed_and_nothing_else() -> None:
    source = '''
"""About components and components.models; grüße."""
import components
import components.models.gpt, json, components.core.errors as errors
from components.core import records
from   components.models.gpt import (GPT,
    Block)  # from components.models
from importlib import import_module, resources
if TYPE_CHECKING:
    from components.core.config import Config
def run(other: "Config", components_of=1):
    grüße = "ü"; from components.x import y
    one = import_module("components.models.saved.classifier"); two = import_module(name=f"x", package='components')
    three = resources.files("components") / "components"
    other.components = components.core.records.File(components=other.components)
    return componentsx, "from components.a import b", one
'''
    expected = '''
"""About components and components.models; grüße."""
import private
import private.models.gpt, json, private.core.errors as errors
from private.core import records
from   private.models.gpt import (GPT,
    Block)  # from components.models
from importlib import import_module, resources
if TYPE_CHECKING:
    from private.core.config import Config
def run(other: "Config", components_of=1):
    grüße = "ü"; from private.x import y
    one = import_module("private.models.saved.classifier"); two = import_module(name=f"x", package='private')
    three = resources.files("private") / "components"
    other.components = private.core.records.File(components=other.components)
    return componentsx, "from components.a import b", one
'''
    assert renamed(source.encode(), "private").decode() == expected
    assert renamed(b"components = 1\nprint(components)\n", "private") == b"components = 1\nprint(components)\n"


def test_where_another_components_hides_gradus_the_command_says_so_in_a_line(own: Path) -> None:
    script = "from pipelines.cli.start import main; main()"
    path = os.pathsep.join((str(own), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "--help"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(own / "components" / "__init__.py") in line
    assert "another name" in line
