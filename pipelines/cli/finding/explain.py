"""`gradus explain` and `gradus schema`: what a key of a preset means, and all of them for an editor."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, results

if TYPE_CHECKING:
    from pipelines.keys import Key

EXAMPLES = """
[bold]Examples[/bold]\n
gradus explain\n
gradus explain train\n
gradus explain train.learning_rate
"""
SCHEMA_EXAMPLES = """
[bold]Example[/bold]\n
gradus schema > gradus.schema.json
"""


def explain(
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="A key as --set takes it, or a section.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Explain a key of a preset: its meaning, type, choices and default. Without a key, list the sections."""
    with errors_as_lines(debug):
        from pipelines import keys

        names = [key] if key else list(dict.fromkeys(_sections()))
        found = [each for name in names for each in keys.explain(name)]
        if as_json:
            typer.echo(json.dumps([each.model_dump() for each in found]))
        elif key:
            for each in found:
                _show(each)
        else:
            _list({each.key: each.meaning for each in found})


def schema() -> None:
    """Print the JSON schema of presets, by which an editor completes and checks their keys."""
    from pipelines.keys import schema as whole

    typer.echo(json.dumps(whole(), indent=1))


def _sections() -> list[str]:
    from pipelines.keys import all_keys
    from pipelines.kinds import KINDS

    return [name for kind in KINDS for name in all_keys(kind) if "." not in name]


def _show(key: "Key") -> None:
    from pipelines.keys import explain as know

    kinds = f"   of {' and '.join(key.kinds)}"
    lines = [f"[bold]{key.key}[/bold]{kinds}", *key.meaning.split("\n"), ""]
    if not key.below:
        lines.append(f"type     {key.type}")
        lines += [f"choices  {', '.join(key.choices)}"] if key.choices else []
        lines += [f"limits   {', '.join(key.limits)}"] if key.limits else []
        lines.append("default  none: it has to be given" if key.required else f"default  {json.dumps(key.default)}")
    console = results()
    for line in lines:
        console.print(line, markup=line.startswith("[bold]"), soft_wrap=True)
    if key.below:
        _list({name: _first_of(know(name), key.kinds) for name in key.below})


def _first_of(found: "list[Key]", kinds: list[str]) -> str:
    return next(each.meaning for each in found if set(each.kinds) & set(kinds))


def _list(meanings: dict[str, str]) -> None:
    from rich.table import Table

    table = Table("key", "what it means", box=None, pad_edge=False)
    for name, meaning in meanings.items():
        table.add_row(name, " ".join(meaning.split()).split(". ")[0].rstrip("."))
    results().print(table)
