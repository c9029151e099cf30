"""How the house is kept: small files and folders, and tests that lean on behaviour and on nothing of each other's."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("benchmarks", "components", "deploy", "docs", "pipelines", "tests")
LONGEST = 300
"""Lines of a file, docstrings and all."""
MOST = 20
"""Modules side by side in a folder."""


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each module that a file imports, and the names that it takes from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or "", [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)


@pytest.mark.long
@pytest.mark.parametrize("path", sources("tests"), ids=name_of)
def test_no_test_leans_on_another_or_on_a_private_name(path: Path) -> None:
    for module, names in imports(path):
        parts = [*module.split("."), *names]
        assert not [part for part in parts if part.startswith("test_") and module.startswith("tests")], module
        assert "conftest" not in parts, "what tests import stands in a module of its own, fixtures in conftest.py"
        if module.startswith(OURS):
            assert not [part for part in parts if part.startswith("_") and not part.startswith("__")], module


def test_files_are_short() -> None:
    long = {name_of(path) for path in sources(*OURS) if path.read_bytes().count(b"\n") > LONGEST}
    assert not {name for name in long if not name.startswith("tests/")}


def test_folders_are_small() -> None:
    folders = [path.parent for path in sources("components", "pipelines", "tests") if path.name != "__init__.py"]
    assert not {name_of(folder) for folder in folders if folders.count(folder) > MOST}
