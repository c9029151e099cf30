"""The sources that a logged model brings along, under a name of their own.

MLflow puts a model's `code/` in front of `sys.path`. A package `components` there would hide that of another model, of
Gradus, or of the user. So the sources become a package whose name is a hash of them, and their imports say that name.
"""

import ast
import hashlib
import inspect
import re
from pathlib import Path

import components
from components.core import integrity
from components.core.versions import closure, parse

ROOT = Path(components.__file__).parent
PREFIX = "gradus_model_"
ENTRY = "components.serving.entry"
ENTRY_FILE = "gradus_model.py"
OF_INTEGRITY = re.compile(r"^from components\.core\.integrity import .*\n", re.MULTILINE)
IMPORTERS = {"__import__", "files", "find_spec", "import_module"}
"""Functions that take the name of a module as a string."""


def write_bundle(module: str, target: Path) -> Path:
    """Write a module and all that it imports from this repository into `target`, as a package with a private name.

    Returns the package; beside it stands `ENTRY_FILE`, which MLflow runs.
    """
    sources = _sources(module)
    digest = hashlib.sha256()
    for path, source in sources.items():
        digest.update(f"{path.as_posix()}\n{len(source)}\n".encode() + source)
    name = PREFIX + digest.hexdigest()[:12]
    for path, source in sources.items():
        (target / name / path).parent.mkdir(parents=True, exist_ok=True)
        (target / name / path).write_bytes(renamed(source, name))
    # The check of the files stands in the file that MLflow runs: it must not be imported unchecked.
    entry = closure(ENTRY)[ENTRY].read_text(encoding="utf-8")
    checked = OF_INTEGRITY.sub(lambda _: inspect.getsource(integrity), entry)
    (target / ENTRY_FILE).write_text(checked, encoding="utf-8")
    return target / name


def _sources(module: str) -> dict[Path, bytes]:
    """Return the source files that a module needs, by their path under `components`, in an order that stays."""
    files = set(closure(module).values())
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(ROOT)}
    files |= {folder / "__init__.py" for folder in folders}
    return {file.relative_to(ROOT): file.read_bytes() for file in sorted(files)}


def renamed(source: bytes, name: str) -> bytes:
    """Return a module's source in which the package `components` is called `name`; the rest stays to the byte.

    Changed are imports, what is then said of the imported name, and the strings that functions which import are given.
    """
    lines = source.splitlines(keepends=True)
    for row, column in sorted(set(_mentions(parse(source), lines)), reverse=True):
        line = lines[row - 1]
        lines[row - 1] = line[:column] + name.encode() + line[column + len(ROOT.name) :]
    return b"".join(lines)


def _mentions(tree: ast.AST, lines: list[bytes]) -> list[tuple[int, int]]:
    """Return where a module names the package: lines from 1, columns in bytes."""
    nodes = list(ast.walk(tree))
    imported = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    bound = any(_is_ours(alias.name) and alias.asname is None for alias in imported)
    found = [(alias.lineno, alias.col_offset) for alias in imported if _is_ours(alias.name)]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and not node.level and _is_ours(node.module):
            found.append((node.lineno, _after(lines[node.lineno - 1], node.col_offset, rb"from\s+")))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in IMPORTERS:
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            found += [
                (each.lineno, _after(lines[each.lineno - 1], each.col_offset, rb"\w*['\"]+"))
                for each in given
                if isinstance(each, ast.Constant) and isinstance(each.value, str) and _is_ours(each.value)
            ]
        elif bound and isinstance(node, ast.Name) and node.id == ROOT.name:
            found.append((node.lineno, node.col_offset))
    return found


def _is_ours(name: str | None) -> bool:
    return name is not None and name.partition(".")[0] == ROOT.name


def _after(line: bytes, column: int, pattern: bytes) -> int:
    matched = re.compile(pattern).match(line, column)
    return matched.end() if matched else column
