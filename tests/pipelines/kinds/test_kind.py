"""What acts on runs of any kind knows none by its name."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.tracking.config import TrackingConfig
from components.tracking.runs import open_run
from pipelines.config import shipped_presets
from pipelines.kinds import DEFAULT, KINDS, config_class, flow_of, kind_named, names_of
from tests.pipelines.commands import compare_runs

ROOT = Path(__file__).parents[3]
OF_ANY_KIND = [
    str(path.relative_to(ROOT))
    for folder in ("components", "pipelines")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not path.is_relative_to(ROOT / "pipelines/kinds") and "samples" not in path.parts
]
CONFIGS = {config_class(kind).__name__ for kind in KINDS}


@pytest.mark.ci
@pytest.mark.parametrize("module", OF_ANY_KIND)
def test_no_module_that_acts_on_any_kind_names_one(module: str) -> None:
    tree = ast.parse((ROOT / module).read_text())
    assert [f"line {line}: {what}" for line, what in kinds_named(tree)] == []


def kinds_named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield where a source asks for a kind: by its package, config or name; a column may be called the same."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(name)) if name.startswith("pipelines.kinds."):
                yield node.lineno, name
            case ast.Name(id=name) if name in CONFIGS:
                yield node.lineno, name
            case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
                yield from (found for side in (left, right) for found in as_kind(side))
            case ast.Call(func=ast.Attribute(attr="get"), args=[_, default]):
                yield from as_kind(default)
            case ast.AnnAssign(value=ast.expr() as value) | ast.keyword(value=value) | ast.MatchValue(value=value):
                yield from as_kind(value)
            case ast.arguments():
                yield from (found for default in [*node.defaults, *node.kw_defaults] for found in as_kind(default))


def as_kind(node: ast.AST | None) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Constant) and node.value in KINDS:
        yield node.lineno, node.value


@pytest.mark.parametrize(
    "source",
    [
        'if config.pipeline == "instruction": pass',
        'pipeline: str = "classification"',
        'run.params.get("pipeline", "classification")',
        'def flow(kind="instruction"): pass',
        '@flow(name="classification")\ndef run(): pass',
        "from pipelines.kinds.instruction.flow import instruction",
        "isinstance(config, InstructionConfig)",
    ],
)
def test_it_would_be_seen(source: str) -> None:
    assert list(kinds_named(ast.parse(source)))


def test_a_column_may_be_called_as_a_kind_is() -> None:
    assert not list(kinds_named(ast.parse('rows["instruction"]; COLUMNS = ["instruction", "input"]')))


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_found_with_all_its_parts(name: str) -> None:
    presets = [config for config in shipped_presets().values() if config.pipeline == name]
    assert presets
    assert all(type(config) is config_class(name) for config in presets)
    assert flow_of(name).name == name


@pytest.mark.ci
def test_an_old_run_that_names_no_kind_is_of_the_first_one(tmp_path: Path) -> None:
    tracking = TrackingConfig(experiment="old", system_metrics=False)
    with open_run(tracking, tmp_path, "old", {"seed": 1}) as run:
        pass
    assert "there is nothing to test on" in compare_runs(run.run_id, run.run_id, tmp_path).warnings[0]
    assert kind_named("") == DEFAULT
    assert names_of(DEFAULT) == (DEFAULT, "")


def test_a_kind_that_is_not_known_is_refused_in_one_line(tmp_path: Path) -> None:
    tracking = TrackingConfig(experiment="other", system_metrics=False)
    with open_run(tracking, tmp_path, "other", {"pipeline": "dreaming"}) as run:
        pass
    found = compare_runs(run.run_id, run.run_id, tmp_path)
    assert found.refused == f"not compared: run {run.run_id[:8]} is of the pipeline dreaming, which is not known here"


@pytest.mark.ci
@pytest.mark.parametrize("name", KINDS)
def test_a_run_of_each_kind_without_files_is_shown_with_a_warning(name: str, tmp_path: Path) -> None:
    tracking = TrackingConfig(experiment="kinds", system_metrics=False)
    with open_run(tracking, tmp_path, name, {"pipeline": name}) as run:
        pass
    with open_run(tracking, tmp_path, name, {"pipeline": name}) as other:
        pass
    found = compare_runs(run.run_id, other.run_id, tmp_path)
    assert found.refused is None
    [warning] = found.warnings
    assert warning.count("there is nothing to test on") == 2
    assert all(f"run {each.run_id[:8]} left no " in warning for each in (run, other))


@pytest.mark.ci
def test_a_key_that_an_older_run_did_not_have_is_a_difference_unless_it_has_its_default(tmp_path: Path) -> None:
    tracking = TrackingConfig(experiment="keys", system_metrics=False)
    runs = []
    for train in ({}, {"fast": True}, {"fast": False}):
        config = {"pipeline": DEFAULT, "train": {"seed": 1, **train}, "source": {"url": "a.csv", "header": True}}
        with open_run(tracking, tmp_path, "keys", config if train else {**config, "source": {"url": "a.csv"}}) as run:
            runs.append(run.run_id)
    old, default, other = runs
    assert compare_runs(old, default, tmp_path).parameters == {}
    assert compare_runs(default, old, tmp_path).parameters == {}
    assert compare_runs(old, other, tmp_path).parameters == {"train.fast": (None, "false")}
