"""The version of a step: a hash of the source files it is made of, and the libraries that these import."""

import ast
import hashlib
import importlib.metadata
import sys
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path

ROOTS = ("components", "pipelines")
DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Libraries that are installed under another name than they are imported by."""
NOT_DECIDING = {"_typeshed", "mlflow", "prefect", "psutil", "requests", "rich", "tenacity", "urllib3"}
"""Libraries that carry, schedule and show results, and decide none."""
PARSING = threading.Lock()


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
        for file in (path, path.with_suffix(".html")):
            if file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def library_versions(*modules: str) -> dict[str, str | None]:
    """Return the installed versions of the libraries that modules of this repository import, however deep.

    With the build that they are of (`2.13.0+cpu`). None stands for one that is not installed.
    """
    names = {name.partition(".")[0] for path in closure(*modules).values() for name in _imports(path)}
    libraries = names - set(sys.stdlib_module_names) - {*ROOTS} - NOT_DECIDING
    return {name: installed(DISTRIBUTIONS.get(name, name)) for name in sorted(libraries)}


def installed(distribution: str) -> str | None:
    """Return the version of a distribution that is installed, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


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


def parse(source: str | bytes) -> ast.Module:
    """Return the syntax tree of a source, one thread at a time.

    Python 3.11 counts how deep it is in a tree for all threads together, and raises a SystemError where two parse.
    """
    with PARSING:
        return ast.parse(source)


@cache
def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from components.data.split import folding` names a module, `from core.store import Store` none.
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
