"""`gradus models`: which models are registered, and which of their versions are in use."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, results

if TYPE_CHECKING:
    from pipelines.found import FoundModel

EXAMPLES = """
[bold]Examples[/bold]\n
gradus models\n
gradus models spam-classifier
"""


def models(
    name: Annotated[str | None, typer.Argument(metavar="MODEL", help="One model, with all its versions.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List registered models with their champions and candidates; or the versions of one, the newest first."""
    with errors_as_lines(debug):
        from components.core.home import home
        from pipelines.found import find_models, lines

        found = find_models(home(), name)
        if as_json:
            typer.echo(lines(found))
        elif name:
            _versions(found[0])
        else:
            _list(found)


def _list(found: "list[FoundModel]") -> None:
    from rich.table import Table

    table = Table("model", "versions", "champion", "candidate", box=None, pad_edge=False)
    for model in found:
        table.add_row(model.name, str(len(model.versions)), model.shown("champion"), model.shown("candidate"))
    results().print(table)
    if not found:
        typer.echo("no model is registered yet; start with: gradus run spam-demo", err=True)


def _versions(model: "FoundModel") -> None:
    from rich.table import Table

    table = Table(
        "version", "alias", "run", "registered (UTC)", "primary metric", "name of the run", box=None, pad_edge=False
    )
    for each in model.versions:
        registered = each.registered.replace("T", " ")[:16]
        alias = ", ".join(each.aliases)
        table.add_row(each.version, alias, each.run_id[:8], registered, each.primary, each.run_name)
    results().print(table)
