"""Draw `docs/architecture.md` from the code: `python -m docs.draw_architecture`, or `make docs`.

Modules speak through the first line of their docstrings, imports through grimp, rules through import-linter's contracts
in `pyproject.toml`, flows through their syntax trees, tasks as Prefect has them. Nothing on the page is dated.
"""

import ast
import textwrap
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import grimp
from prefect import Task

from components import tasks as catalogue
from components.core.steps import Step

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("pipelines", "components")
LOWEST = "components.models"
"""What lies below this room is the ground that all rooms stand on; arrows to it would hide the others."""
LABEL = 60
"""Characters of a purpose that still fit into a box of the picture."""

INTRODUCTION = """\
# What is where, and what may import what?

`make docs` draws this page from the code. To change it, change a docstring, an import or a rule, and draw it again.

A run starts at the top: `pipelines` says what runs and in which order, `components.tasks` makes every block a Prefect
task, and the blocks themselves know neither Prefect nor each other.

## The rooms

An arrow is an import that stands in the code. All of them point down."""

GROUND = "Every room may also import the ground floor, {rooms}.\nThose arrows are left out."

RULES = """\
| A step runs again when its inputs, config or sources change | `components/core/{steps,versions}.py` |
| What the store shows is complete, and is checked before it is used | `components/core/store.py` |
| Every run is closed: finished, failed or killed | `components/tracking/runs.py` |
| Types are strict, style is one | `make types`, `make lint` |
| Commands and links in the documentation work | `tests/test_docs.py` |"""


@dataclass(frozen=True)
class Module:
    """A source file, by its dotted name."""

    name: str
    path: Path
    purpose: str

    @property
    def room(self) -> str:
        """The top-level folder that it stands in, or the module itself where it stands beside the folders."""
        package, _, rest = self.name.partition(".")
        return package if package == "pipelines" or not rest else f"{package}.{rest.partition('.')[0]}"

    @property
    def folder(self) -> str:
        """The folder of its file, relative to the repository."""
        return self.path.parent.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Flow:
    """A Prefect flow: the tasks that it calls, in order, and which result goes where."""

    name: str
    tasks: list[str]
    arrows: list[tuple[str, str]]


def draw() -> str:
    """Return the page as the code says it should be."""
    modules = list(find_modules())
    purposes = {module.name: module.purpose for module in modules}
    tasks = find_tasks()
    parts = [INTRODUCTION, rooms_picture(modules, purposes)]
    for flow in (found for found in find_flows(modules, set(tasks)) if found.tasks):
        parts += [f"## The flow `{flow.name}`", flow_picture(flow), tasks_table(flow, tasks)]
    parts += ["## Who enforces what", rules_table(), "## Every module"]
    for folder in sorted({module.folder for module in modules}, key=_by_package):
        parts += [f"### {folder}/", modules_table([module for module in modules if module.folder == folder], purposes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def find_modules() -> Iterator[Module]:
    """Yield every module of the two packages, sorted.

    Raises:
        ValueError: if a module has no docstring, and so nothing to say of itself here.
    """
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            if not docstring:
                raise ValueError(f"{path.relative_to(ROOT)} has no docstring")
            yield Module(".".join(parts).removesuffix(".__init__"), path, docstring.splitlines()[0])


def read_contracts() -> list[dict[str, object]]:
    """Return import-linter's contracts."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts: list[dict[str, object]] = settings["tool"]["importlinter"]["contracts"]
    return contracts


def read_layers() -> list[str]:
    """Return the rooms from top to bottom, as the contract of layers has them."""
    for contract in read_contracts():
        layers = contract.get("layers")
        if isinstance(layers, list):
            return [room.strip() for layer in layers for room in str(layer).split("|")]
    raise ValueError("pyproject.toml has no contract of layers")


def rooms_picture(modules: list[Module], purposes: dict[str, str]) -> str:
    """Return the rooms as a Mermaid flowchart.

    Raises:
        ValueError: if a room stands in no layer, so that nothing says what may import it.
    """
    layers = read_layers()
    cut = layers.index(LOWEST) + 1
    rooms, ground = layers[:cut], layers[cut:]
    housed = {".".join(layer.split(".")[:2]) for layer in layers}  # `components.core` has a layer for each of its parts
    if homeless := {module.room for module in modules} - {*housed, "components"}:
        raise ValueError(f"pyproject.toml, importlinter: no layer for {', '.join(sorted(homeless))}")
    lines = ["flowchart TD"]
    lines += [f'    {_short(room)}["{_label(room, purposes[room])}"]' for room in rooms]
    lines += [f"    {_short(above)} --> {_short(below)}" for above, below in find_arrows(rooms)]
    return _picture(lines) + "\n\n" + GROUND.format(rooms=", ".join(f"`{_short(room)}`" for room in ground))


def find_arrows(rooms: list[str]) -> list[tuple[str, str]]:
    """Return which of `rooms` import which themselves, and not through a third."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    inside = {room: {room, *graph.find_descendants(room)} for room in rooms}
    imported = {
        room: {name for module in inside[room] for name in graph.find_modules_directly_imported_by(module)}
        for room in rooms
    }
    return [pair for pair in permutations(rooms, 2) if imported[pair[0]] & inside[pair[1]]]


def find_tasks() -> dict[str, Step[...] | Task[..., object]]:
    """Return the tasks of the catalogue, by name."""
    return {name: value for name, value in vars(catalogue).items() if isinstance(value, Step | Task)}


def find_flows(modules: list[Module], tasks: set[str]) -> Iterator[Flow]:
    """Yield the flows, each read from top to bottom, with what its helpers call where they are called."""
    for module in modules:
        if module.room != "pipelines":
            continue
        functions = _functions(ast.parse(module.path.read_text(encoding="utf-8")))
        for name, node in functions.items():
            if _is_flow(node):
                called = [call for call in _calls(node, functions) if call in tasks]
                yield Flow(name, list(dict.fromkeys(called)), _wiring(node, tasks))


def _wiring(flow: ast.FunctionDef, tasks: set[str]) -> list[tuple[str, str]]:
    """Return the arrows of a flow: `steps["b"] = b(steps["a"])` is one from a to b; a task without a key comes last."""
    arrows: list[tuple[str, str]] = []
    last = ""
    for statement in _statements(flow.body):
        named = _key(statement.targets[0]) if isinstance(statement, ast.Assign) else ""
        called = [name for node in ast.walk(statement) if (name := _called(node)) in tasks]
        if named:
            arrows += [(key, named) for node in ast.walk(statement) if (key := _key(node)) not in {"", named}]
        elif called and last:
            arrows.append((last, called[0]))
        last = named or next(iter(called), last)
    return list(dict.fromkeys(arrows))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the simple statements of a body in order, those of `with`, `if` and `try` too."""
    for statement in body:
        if below := getattr(statement, "body", None):
            yield from _statements(below)
        else:
            yield statement


def _calls(function: ast.FunctionDef, functions: dict[str, ast.FunctionDef]) -> Iterator[str]:
    """Yield the names that a function calls, in the order of the text, with what its module's helpers call in place."""
    calls = [node for node in ast.walk(function) if _called(node)]
    for call in sorted(calls, key=lambda node: (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))):
        name = _called(call)
        if name in functions and name != function.name:
            yield from _calls(functions[name], functions)
        else:
            yield name


def flow_picture(flow: Flow) -> str:
    """Return the steps of a flow as a Mermaid flowchart."""
    return _picture(["flowchart LR", *(f"    {before} --> {after}" for before, after in flow.arrows)])


def tasks_table(flow: Flow, tasks: dict[str, Step[...] | Task[..., object]]) -> str:
    """Return what each task of a flow does, and under which terms, in the order of the flow's text."""
    rows = []
    for name in flow.tasks:
        found = tasks[name]
        task = found.task if isinstance(found, Step) else found
        kept = "by content" if isinstance(found, Step) else "no"
        purpose = (task.description or "").splitlines()[0]
        rows.append([f"`{name}`", purpose, _duration(task.timeout_seconds or 0), _times(task.retries), kept])
    return _table(["task", "what it does", "time limit", "tried again", "result kept"], rows)


def rules_table() -> str:
    """Return the rules and where each is enforced."""
    contracts = [
        [str(contract["name"]), "`pyproject.toml`, import-linter; `make lint`"] for contract in read_contracts()
    ]
    return _table(["rule", "enforced by"], contracts) + "\n" + RULES


def modules_table(modules: list[Module], purposes: dict[str, str]) -> str:
    """Return a folder's purpose, if it says one, and what is in it."""
    rows = [[f"`{module.path.name}`", module.purpose] for module in modules if module.path.name != "__init__.py"]
    about = purposes.get(modules[0].folder.replace("/", "."), "")
    return "\n\n".join(part for part in (about, _table(["module", "purpose"], rows) if rows else "") if part)


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _is_flow(function: ast.FunctionDef) -> bool:
    return any(_called(decorator) == "flow" for decorator in function.decorator_list)


def _called(node: ast.AST) -> str:
    """Return the plain name that a call calls, else nothing."""
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def _key(node: ast.AST | None) -> str:
    """Return `a` of `steps["a"]` and of `steps.get("a")`, else nothing."""
    named = None
    if isinstance(node, ast.Subscript) and _is_steps(node.value):
        named = node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_steps(node.func.value):
        named = node.args[0]
    return str(named.value) if isinstance(named, ast.Constant) else ""


def _is_steps(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "steps"


def _duration(seconds: float) -> str:
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}" + ("s" if seconds != size else "")
    return "none"


def _times(retries: int) -> str:
    return "no" if not retries else "once" if retries == 1 else f"{retries} times"


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _picture(lines: list[str]) -> str:
    return "\n".join(["```mermaid", *lines, "```"])


def _short(room: str) -> str:
    return room.rpartition(".")[2]


def _label(room: str, purpose: str) -> str:
    said = purpose.rstrip(".") if len(purpose) <= LABEL else purpose.partition(":")[0]
    return "<br/>".join([f"<b>{_short(room)}</b>", *textwrap.wrap(said.replace("`", ""), 28)])


def _by_package(folder: str) -> tuple[int, str]:
    return PACKAGES.index(folder.partition("/")[0]), folder


def main() -> None:
    """Write the page."""
    PAGE.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
