"""The version of a step: a hash of the source files it is made of."""

import ast
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ROOTS = ("components", "pipelines")


@cache
def source_version(*modules: str) -> str:
    """Return a hash of modules and of every module of this repository that they import, however deep.

    An HTML template that stands beside a module under its name counts as part of it.

    Imports are read from the syntax tree, those inside functions too, so nothing is run. An edited helper
    gives a new version to the steps that use it, and to no other.
    """
    digest = hashlib.sha256()
    for name, path in sorted(closure(*modules).items()):
        digest.update(name.encode())
        digest.update(path.read_bytes())
        template = path.with_suffix(".html")
        if template.is_file():
            digest.update(template.read_bytes())
    return digest.hexdigest()[:16]


def closure(*modules: str) -> dict[str, Path]:
    """Return the source files of modules and of what they import from this repository, by module name."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if path is None or name in found:
            continue
        found[name] = path
        waiting.extend(_imports(path))
    return found


@cache
def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from components.data import folding` names a module, `from components.store import Store` does not.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


@cache
def _source(name: str) -> Path | None:
    """Return the file of a module of this repository, or None for anything else.

    `find_spec` would import the packages around the module, and whatever heavy library they import.
    """
    root, *rest = name.split(".")
    spec = find_spec(root) if root in ROOTS else None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent.joinpath(*rest)
    files = (path / "__init__.py", path.with_name(f"{path.name}.py"))
    return next((file for file in files if file.is_file()), None)
