"""Draw `docs/architecture.md` from the code: `python -m docs.draw_architecture`, or `make docs`.

Rooms speak through the first line of their docstrings, imports through grimp, rules through import-linter's contracts
in `pyproject.toml`, flows and tasks as Prefect has them. Nothing on the page is dated.
"""

import ast
import inspect
import textwrap
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import grimp
from prefect import Flow, Task

from components.core.steps import Step
from components.tasks.shared import HOUR

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
LOWEST = "components.models"  # below it is the ground that all rooms stand on; arrows to it would hide the others

PAGE_TEXT = """\
# What is where, and what may import what?

`make docs` draws this page from the code. To change it, change a docstring, an import or a rule, and draw it again.
How one adds to the house stands in [Extending](extending.md).

## The rooms

An arrow is an import that stands in the code. All of them point down.

{rooms}

Every room may also import the ground floor, {ground}; those arrows are left out.

What a module is for stands in its first line: {folders}.

## The flows

{flows}

Where a step fails, a `report_` task leaves what is known of it in MLflow.

## The tasks

{tasks}

## Who enforces what

{rules}
| A step runs again when its inputs, config or sources change | `components/core/{{steps,versions}}.py` |
| What the store shows is complete, and is checked before it is used | `components/core/store.py` |
| Every run is closed: finished, failed or killed | `components/tracking/runs.py` |
| Types are strict, style is one | `make types`, `make lint` |
| Commands and links in the documentation work | `tests/test_docs.py` |
"""


def draw() -> str:
    """Return the page as the code says it should be."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [room.strip() for layer in contracts[0]["layers"] for room in layer.split("|")]
    ground = dict.fromkeys(".".join(room.split(".")[:2]) for room in layers[layers.index(LOWEST) + 1 :])
    folders = sorted(path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("[cp]*s/*/__init__.py"))
    flows = {flow.name: list(dict.fromkeys(find_tasks(flow.fn))) for flow in find_flows()}
    shown = {name: [f"`{task.name}`" for task in tasks if "report" not in task.name] for name, tasks in flows.items()}
    return PAGE_TEXT.format(
        rooms=rooms_picture(layers),
        ground=", ".join(f"`{room}`" for room in ground),
        folders=", ".join(f"[{folder}](../{folder})" for folder in folders),
        flows="\n".join(f"- **{name}**: {' → '.join(tasks)}" for name, tasks in shown.items()),
        tasks=tasks_table(flows),
        rules=_table(["rule", "enforced by"], [[rule["name"], "import-linter; `make lint`"] for rule in contracts]),
    )


def rooms_picture(layers: list[str]) -> str:
    """Return the rooms down to `LOWEST` as a Mermaid flowchart, or raise ValueError: a module has no layer."""
    graph = grimp.build_graph("pipelines", "components", cache_dir=None)
    imported_by = graph.find_modules_directly_imported_by
    room_of = {module: _room(module, layers) for module in graph.modules - {"components", "components.core"}}
    if homeless := [module for module, room in room_of.items() if not room]:
        raise ValueError(f"pyproject.toml, importlinter: no layer for {', '.join(homeless)}")
    rooms = layers[: layers.index(LOWEST) + 1]
    imports = {(room, room_of.get(name)) for module, room in room_of.items() for name in imported_by(module)}
    arrows = [(room, [_short(low) for low in rooms if low != room and (room, low) in imports]) for room in rooms]
    lines = [f"    {_short(room)} --> {' & '.join(below)}" for room, below in arrows if below]
    return "\n".join(["```mermaid", "flowchart TD", *map(_box, rooms), *lines, "```"])


def find_flows() -> Iterator[Flow[..., Any]]:
    """Yield the flows that `pipelines` defines."""
    for path in sorted((ROOT / "pipelines").rglob("*.py")):
        if "import flow" in path.read_text(encoding="utf-8"):
            module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            yield from (value for value in vars(module).values() if isinstance(value, Flow))


def find_tasks(*sources: Any) -> Iterator[Task[..., Any]]:
    """Yield the tasks that functions or classes of `pipelines` name, in the order of the text, then their helpers'."""
    helpers: list[Any] = []
    for source in sources:
        tree = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(source))))
        names = [(node.lineno, node.col_offset, node.id) for node in tree if isinstance(node, ast.Name)]
        for *_, name in sorted(names):
            found = getattr(import_module(source.__module__), name, None)
            if isinstance(found, Step | Task):
                yield found.task if isinstance(found, Step) else found
            elif callable(found) and found.__module__.startswith("pipelines") and found not in (*sources, *helpers):
                helpers.append(found)
    yield from find_tasks(*helpers) if helpers else ()


def tasks_table(flows: dict[str, list[Task[..., Any]]]) -> str:
    """Return what each task does, and under which terms, in the order of the flows."""
    rows = []
    for task in dict.fromkeys(task for tasks in flows.values() for task in tasks):
        users = ", ".join(flow for flow, tasks in flows.items() if task in tasks)
        limit, cached = (task.timeout_seconds or 0) / HOUR, "yes" if task.persist_result else "no"
        purpose = str(task.description).splitlines()[0]
        rows.append([f"`{task.name}`", users, purpose, f"{limit:g} h", str(1 + task.retries), cached])
    return _table(["task", "of the flow", "what it does", "time limit", "tries", "cached"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _room(module: str, layers: list[str]) -> str:
    return max((layer for layer in layers if f"{module}.".startswith(f"{layer}.")), key=len, default="")


def _box(room: str) -> str:
    purpose = textwrap.wrap(str(import_module(room).__doc__).splitlines()[0].rstrip(".").replace("`", ""), 32)
    label = "<br/>".join([f"<b>{_short(room)}</b>", *purpose])
    return f'    {_short(room)}["{label}"]'


def _short(room: str) -> str:
    return room.rpartition(".")[2]


if __name__ == "__main__":
    PAGE.write_text(draw(), encoding="utf-8")
