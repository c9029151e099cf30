"""A step's version follows the sources it is made of."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from components.core.versions import closure, source_version

ROOT = Path(__file__).parents[2]


@pytest.mark.ci
def test_the_closure_follows_imports_inside_functions() -> None:
    found = closure("components.evaluation.classification")
    assert "components.evaluation.baselines" in found
    assert "components.models.saved.classifier" in found
    assert not any(name.startswith("components.tracking") for name in found)
    assert not any(name.startswith(("numpy", "pandas")) for name in found)


def versions_after(folder: Path, edited: str) -> dict[str, str]:
    """Copy the packages, edit one module, and return the version of three steps there."""
    shutil.copytree(ROOT / "components", folder / "components", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / edited).open("a") as file:
        file.write("\n# edited\n")
    modules = ["components.data.split.labelled", "components.data.download", "components.data.validation.labelled"]
    code = f"from components.core.versions import source_version as v; print([v(m) for m in {modules}])"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return dict(zip(modules, eval(done.stdout), strict=True))


@pytest.mark.ci
def test_an_edited_helper_changes_what_uses_it_and_nothing_else(tmp_path: Path) -> None:
    after = versions_after(tmp_path, "components/data/split/folding.py")
    changed = {module for module, version in after.items() if version != source_version(module)}
    assert changed == {"components.data.split.labelled"}


@pytest.mark.ci
def test_a_template_counts_as_part_of_its_module(tmp_path: Path) -> None:
    after = versions_after(tmp_path, "components/data/validation/report.html")
    changed = {module for module, version in after.items() if version != source_version(module)}
    assert changed == {"components.data.validation.labelled"}


@pytest.mark.ci
def test_a_helper_of_all_changes_all(tmp_path: Path) -> None:
    after = versions_after(tmp_path, "components/core/errors.py")
    assert all(version != source_version(module) for module, version in after.items())
