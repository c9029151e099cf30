"""What no module of the product does, whatever it is given."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("components", "pipelines", "deploy")
PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pd.read_pickle", "pandas.read_pickle",
    "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.unsafe_load_all", "torch.jit.load", "torch.package",
    "mlflow.pyfunc.load_model", "mlflow.sklearn.load_model", "mlflow.pytorch.load_model",
}  # fmt: skip
"""What runs code that a file holds, or a shell."""
OPTIONS = {"allow_pickle", "shell", "trust_remote_code", "weights_only"}
"""What switches that on, or off."""


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    """Every module of the product, by name."""
    paths = [path for folder in OURS for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def unsafe(module: ast.Module) -> Iterator[str]:
    """Yield what a module does that it should not."""
    for node in ast.walk(module):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (f"import {name}" for name in names if name.partition(".")[0] in PICKLES)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {each.arg: ast.unparse(each.value) for each in node.keywords if each.arg in OPTIONS}
            if name in CALLS:
                yield name
            if name == "torch.load" and options.get("weights_only") != "True":
                yield "torch.load without weights_only"
            if name == "yaml.load" and [ast.unparse(each) for each in node.args[1:]] != ["_Loader"]:
                yield "yaml.load with another loader than ours, which is a safe one"
            for option in OPTIONS - {"weights_only"}:
                if options.get(option, "False") != "False":
                    yield f"{name} with {option}"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "import dill.source", "eval(x)", "exec(x)", "torch.load(x)",
        "torch.load(x, weights_only=False)", "np.load(x, allow_pickle=True)", "yaml.load(x, yaml.Loader)",
        "yaml.load(x, Loader=yaml.UnsafeLoader)", "run(x, shell=True)", "load(x, trust_remote_code=yes)",
    ],
)  # fmt: skip
def test_control_it_is_seen(source: str) -> None:
    assert list(unsafe(ast.parse(source)))


@pytest.mark.long
def test_nothing_that_runs_what_a_file_holds(modules: dict[str, ast.Module]) -> None:
    found = {name: [*unsafe(module)] for name, module in modules.items()}
    assert len(found) > 200
    assert not {name: what for name, what in found.items() if what}


@pytest.mark.long
def test_servers_listen_on_the_loopback_interface_unless_they_are_told(modules: dict[str, ast.Module]) -> None:
    nodes = [(name, node) for name, module in modules.items() for node in ast.walk(module)]
    hosts = {name: ast.unparse(value) for name, node in nodes for named, value in defaults(node) if named == "host"}
    assert hosts.keys() == {f"pipelines/cli/using/{name}.py" for name in ("serve", "ui")} | {
        "components/serving/http/server.py"
    }
    assert set(hosts.values()) == {"'127.0.0.1'"}
    compose = (ROOT / "deploy/compose.yaml").read_text()
    published = [line.strip() for line in compose.splitlines() if line.strip().startswith("ports:")]
    assert published
    assert all('["127.0.0.1:' in line for line in published)


def defaults(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield the parameters of a function, and the fields of a class, that have a default."""
    if isinstance(node, ast.FunctionDef):
        for each, value in zip(reversed(node.args.args), reversed(node.args.defaults), strict=False):
            yield each.arg, value
    if isinstance(node, ast.ClassDef):
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and field.value is not None and isinstance(field.target, ast.Name):
                yield field.target.id, field.value
