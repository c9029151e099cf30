"""The documentation tells the truth: its commands run and print what it says, and what it names is there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from pydantic import BaseModel
from sybil import Document, Example, Region, Sybil

from docs.draw_architecture import PAGE, draw
from pipelines.cli.main import app
from pipelines.config import load_config, shipped_presets
from pipelines.kinds import KINDS, config_class
from tests.pages import ROOT, Block, Page, invocations, pages, read_page
from tests.reader import Reader, lengthened

RUN = {"cat", "cd", "cp", "cut", "echo", "export", "gradus", "head", "jq", "ls", "mkdir", "mlflow", "printf", "tail"}
"""The programs that `test_a_page_can_be_followed` runs, as the pages have them."""

NOT_RUN = {
    r"^make demo$": "sets up .venv; what it runs then is run here, see `INSTEAD`",
    r"^make ": "sets up .venv or runs the tests; .ci/run does it on a fresh machine",
    r"pre-commit install": "writes into .git",
    r"gradus (run|check) (spam|instruct)(-book)?(?![\w-])": "needs the network, and hours; the demo is the same flow",
    r"gradus sweep (spam-experiments|seven-questions)": "trains real models for hours; other sweeps are run",
    r"python -m benchmarks\.results": "trains for hours; tests/benchmarks/test_results.py draws its page",
    r"^ollama ": "is a program of its own; tests/judging has a server that speaks its protocol",
    r"gradus generate openai-community/": "needs the network; tests/pipelines/cli/test_cli_generate.py has others",
    r"(models:/|rollback )(spam-classifier|instruction-model)": "needs what `gradus run spam` or `instruct` leaves",
    r"gradus push ": "needs a hub; tests/pipelines/cli/test_cli_export.py has one",
    r"\bRUN\b": "stands for the id of a run; docs/choosing_a_model.md has real ones",
    r"(mlflow ui|mlflow server|prefect server start)": "serves until it is stopped",
    r"^gradus serve ": "the same; tests/pipelines/cli/test_cli_serve.py starts real ones",
    r"^gradus ui": "the same; tests/pipelines/cli/page/test_in_a_browser.py starts a real one",
    r"^(docker|helm|kubectl) ": "needs a container engine; tests/deploy/test_containers.py validates the files",
    r"^apt-get ": "installs for the whole system; .ci/apt.txt has the same package",
    r"(^deploy/local|deploy/local env)": "starts a service; tests/deploy/test_local.py starts a real one",
    r"^gradus (deploy|data publish)": "needs a server; tests/deploy/test_local.py has one",
    r"^(\.venv/bin/)?pip install ": "installs into the environment that the tests run in",
    r"^mlflow models serve ": "the same; tests/serving/test_mlflow_serving.py starts real ones",
    r"^prefect ": "needs the server of deploy/README.md; tests/deploy/test_deployment.py starts a real one",
    r"http://127\.0\.0\.1:": "needs a server at this address; tests/tracking/test_server.py runs against one",
}
"""Commands that no test runs, and why; the first pattern that is found in a command counts."""

INSTEAD = {"make demo": ["gradus run spam-demo", "gradus run instruct-demo"]}
"""What is run where a page's command cannot be; what the page says it prints must come out all the same."""

CONFIGS = [config_class(kind) for kind in KINDS]
SECTIONS = {section for config in CONFIGS for section in config.model_fields}
FILES = (
    ".py", ".md", ".toml", ".yaml", ".yml", ".parquet", ".json", ".jsonl", ".html", ".safetensors", ".csv", ".png",
    ".gguf",
)  # fmt: skip


def reason_not_to_run(command: str) -> str | None:
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, command)), None)


def uses(*programs: str) -> list[Any]:
    """Return every use of the programs in the pages, as parameters: the words of a command."""
    commands = [(page.name, command) for page in pages() for command in page.commands]
    found = {(name, *words): words for name, command in commands for words in invocations(command)}
    return [pytest.param(words, id=" ".join(key)) for key, words in found.items() if words[0] in programs]


def each_page(those: list[Page]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", those, ids=[page.name for page in those])


def test_commands_are_read_as_bash_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "Save it as `rows.csv`:\n\n```csv\ntext,label\nit's fine,ham\n...\n```\n\n```bash\n"
        "cat > a.yaml <<'EOF'\nname: don't | x\nEOF\n"
        "# a comment, then two lines\nA=1 gradus run a.yaml \\\n    --set 'train.epochs=2' 2>&1 | tail -1\n```\n\n"
        "prints\n\n    ...\n    done in 3.1 s\n"
    )
    table, shell, output = read_page(path).blocks
    assert (table.saved_as, table.is_shell) == ("rows.csv", False)
    assert lengthened(table.text, ".csv").count("\nit's fine ") == 30
    assert [invocations(command) for command in shell.commands] == [
        [["cat"]],
        [["gradus", "run", "a.yaml", "--set", "train.epochs=2"], ["tail", "-1"]],
    ]
    assert not output.is_shell
    reader = Reader(tmp_path)
    reader.compare(output.text, "first \x1b[1mthis\x1b[0m │ done\nin 0.2 s")
    with pytest.raises(AssertionError, match=r"after\ndone in N\nthe page has\ns\nbut printed was\n minutes"):
        reader.compare(output.text, "done in 7 minutes")


# What can be seen without running anything.


@pytest.mark.ci
@each_page(pages())
def test_every_command_is_run_or_has_a_reason_not_to_be(page: Page) -> None:
    for command in page.commands:
        unknown = {words[0] for words in invocations(command)} - RUN
        assert reason_not_to_run(command) or not unknown, f"{command}: say in NOT_RUN why no test runs {unknown}"


@pytest.mark.ci
def test_every_reason_is_needed() -> None:
    commands = [command for page in pages() for command in page.commands]
    idle = [pattern for pattern in NOT_RUN if not any(re.search(pattern, command) for command in commands)]
    assert idle == []


@pytest.mark.ci
@pytest.mark.parametrize("words", uses("gradus"))
def test_gradus_has_the_command_and_its_options(words: list[str]) -> None:
    group: Any = typer.main.get_command(app)
    _, name, *arguments = words
    if "--help" in words:
        assert name == "--help" or name in group.commands
        return
    given = group.commands[name].make_context(name, arguments).params
    if given.get("preset") in shipped_presets():
        load_config(given["preset"], given.get("overrides") or [])


@pytest.mark.ci
@each_page(pages())
def test_gradus_has_the_commands_that_the_text_names(page: Page) -> None:
    group: Any = typer.main.get_command(app)
    named = {match[1] for span in page.spans if (match := re.match(r"gradus ([a-z]+)", span))}
    assert named <= set(group.commands)


@pytest.mark.ci
@each_page(pages())
def test_its_presets_can_be_loaded(page: Page, tmp_path: Path) -> None:
    for block in page.blocks:
        if (block.saved_as or "").endswith(".yaml") and {"source", "validation"} <= set(yaml.safe_load(block.text)):
            (tmp_path / str(block.saved_as)).write_text(block.text)
            load_config(str(tmp_path / str(block.saved_as)))


@pytest.mark.parametrize("words", uses("make"))
def test_make_has_the_target(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in words[1:] if "=" not in word} <= set(targets)


def test_what_stands_in_for_a_target_is_what_it_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for command, instead in INSTEAD.items():
        recipe = re.search(rf"^{command.removeprefix('make ')}:.*\n((\t.*\n)+)", makefile, re.MULTILINE)
        assert recipe
        assert re.findall(r"\t\$\(BIN\)/(gradus .*)\n", recipe[1]) == instead


@pytest.mark.slow
@pytest.mark.parametrize("words", uses("mlflow", "prefect"))
def test_mlflow_and_prefect_have_the_command_and_its_options(words: list[str], tmp_path: Path) -> None:
    first = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    names = list(takewhile(lambda word: re.fullmatch("[a-z-]+", word), words[1:first]))
    done = subprocess.run(
        [Path(sys.executable).parent / words[0], *names, "--help"],
        env=os.environ | {"PREFECT_HOME": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    options = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert options <= set(re.findall(r"(?<!\w)--?[a-z-]+", done.stdout))


@pytest.mark.ci
@each_page([page for page in pages() if page.path != PAGE])  # whose modules look like keys
def test_every_key_is_one_of_the_config(page: Page) -> None:
    texts = [*page.spans, *page.commands]
    named = [key for text in texts for key in re.findall(r"(?:--set[= ]|^)'?([a-z_]+(?:\.[a-z_]+)+)(?:=|$)", text)]
    keys = [key for key in named if key.partition(".")[0] in SECTIONS and not key.endswith(FILES)]
    keys += [key for block in page.blocks for key in keys_of(block)]
    assert [key for key in keys if not any(is_key(key.split("."), config) for config in CONFIGS)] == []


def keys_of(block: Block) -> list[str]:
    """Return the dotted keys of a preset in YAML, or of a part of one."""
    tree = yaml.safe_load(block.text) if block.language == "yaml" else None
    return list(dotted(tree)) if isinstance(tree, dict) and set(tree) <= SECTIONS else []


def dotted(tree: dict[str, Any]) -> Iterator[str]:
    for key, value in tree.items():
        yield str(key)
        if isinstance(value, dict):
            yield from (f"{key}.{below}" for below in dotted(value))


def is_key(parts: list[str], annotation: Any) -> bool:
    """Say whether a key leads to a field; what is inside a plain mapping, such as a map of labels, is free."""
    if not parts:
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(parts[0])
        return field is not None and is_key(parts[1:], field.annotation)
    if getattr(annotation, "__origin__", None) is dict:
        return True
    return any(is_key(parts, inner) for inner in get_args(annotation))


@pytest.mark.ci
@each_page(pages())
def test_every_file_and_module_that_it_names_is_there(page: Page) -> None:
    folders = [ROOT, page.path.parent, ROOT / "components", ROOT / "pipelines"]
    ours = tuple(f"{folder.name}/" for folder in ROOT.iterdir() if folder.is_dir() and folder.name != ".gradus")
    for span in page.spans:
        path, module = re.fullmatch(r"[\w./-]+", span), re.fullmatch(r"(components|pipelines)(\.\w+)+", span)
        if path and (span.startswith(ours) or ("/" in span and span.endswith((".py", ".md", ".toml")))):
            assert any((folder / span).exists() for folder in folders), f"there is no {span}"
        elif module:
            assert find_spec(span), f"there is no module {span}"


@pytest.mark.ci
@each_page([*pages(), *(read_page(path) for path in sorted((ROOT / "docs/decisions").glob("*.md")))])
def test_every_link_inside_the_repository_leads_somewhere(page: Page) -> None:
    for link in page.links:
        target, _, anchor = link.partition("#")
        if re.match(r"\w+:", link):
            continue
        path = page.path.parent / target if target else page.path
        assert path.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], link


@pytest.mark.ci
@each_page(pages())
def test_python_in_it_compiles(page: Page) -> None:
    for block in page.blocks:
        if block.language in {"python", "py"}:
            compile(block.text, page.name, "exec")


def test_the_tree_in_the_readme_is_there() -> None:
    tree = next(block.text for block in read_page(ROOT / "README.md").blocks if block.text.startswith("pipelines/ "))
    folder = ROOT
    for line in tree.splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()  # type: ignore[union-attr]
        path = (folder if indent else ROOT) / name
        assert path.exists(), f"there is no {path.relative_to(ROOT)}"
        folder = folder if indent else path


def test_the_index_lists_every_page() -> None:
    listed = read_page(ROOT / "docs/README.md").links
    there = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert there <= set(listed)
    assert len(listed) == len(set(listed))


@pytest.mark.ci
def test_the_picture_of_the_house_is_up_to_date() -> None:
    assert draw() == PAGE.read_text(encoding="utf-8"), "docs/architecture.md is not what the code says; run `make docs`"


def test_the_picture_of_the_house_fits_on_two_screens() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 120


# What a reader does: the commands of a page from top to bottom, in an empty folder.


def to_run(block: Block) -> list[str]:
    """Return the commands of a block that are run here."""
    kept = [command for command in block.commands if command in INSTEAD or not reason_not_to_run(command)]
    return [instead for command in kept for instead in INSTEAD.get(command, [command])]


def stories() -> list[Page]:
    """Return the pages that have more to run than what sets the stage."""
    commands = {page.name: [command for block in page.blocks for command in to_run(block)] for page in pages()}
    used = {name: {words[0] for each in these for words in invocations(each)} for name, these in commands.items()}
    return [page for page in pages() if used[page.name] - {"cd", "export"}]


def regions(document: Document) -> Iterator[Region]:
    """Yield the blocks of a page, each with what its reader does there."""
    starts = [0, *accumulate(map(len, document.text.splitlines(keepends=True)))]
    for block in read_page(Path(document.path)).blocks:
        first, after = block.lines
        yield Region(starts[first], starts[after], block, meet)


def meet(example: Example) -> None:
    """Let the reader do what a block is for."""
    example.namespace["reader"].meet(example.parsed, to_run(example.parsed))


@pytest.mark.slow
@pytest.mark.timeout(2400)
@each_page(stories())
def test_a_page_can_be_followed(page: Page, tmp_path: Path) -> None:
    document = Sybil([regions]).parse(page.path)
    document.namespace["reader"] = Reader(tmp_path)
    for example in document.examples():
        example.evaluate()
