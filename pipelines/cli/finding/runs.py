"""`gradus runs`: what was run, and how it went."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, results

if TYPE_CHECKING:
    from pipelines.found import FoundRun

EXAMPLES = """
[bold]Examples[/bold]\n
gradus runs\n
gradus runs --preset spam --status finished\n
gradus runs --where 'metrics."test/accuracy" > 0.95 and params."train.trainable" = "lora"'\n
gradus runs 9f8e7d6c
"""


def runs(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="One run alone: its id or the beginning of it, or a model's.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Only runs of this preset.")] = None,
    status: Annotated[
        Literal["finished", "failed", "killed", "running"] | None, typer.Option(help="Only those that are so.")
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="FILTER", help="Only what MLflow's filter finds.")] = None,
    most: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many at most, the newest.")] = 20,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List runs, the newest first, with their primary metric, what was set and the model; or show one of them."""
    with errors_as_lines(debug):
        from components.core.home import home
        from pipelines.found import find, find_one, lines

        if run:
            found = [find_one(run, home())]
        else:
            given = {"preset": preset, "status": status}
            found = find(home(), {name: value for name, value in given.items() if value}, where, most)
        if as_json:
            typer.echo(lines(found))
        elif run:
            _show(found[0])
        else:
            _list(found)
            if not found:
                asked = preset or status or where
                typer.echo(f"no such runs{'' if asked else '; start with: gradus run spam-demo'}", err=True)


def _list(found: "list[FoundRun]") -> None:
    from rich.table import Table

    table = Table("run", "name", "started (UTC)", "took", "status", "primary metric", "model", box=None, pad_edge=False)
    for each in found:
        started = each.started.replace("T", " ")[:16]
        table.add_row(
            each.run_id[:8], each.name, started, each.took, each.status.lower(), each.primary, each.model or ""
        )
    results().print(table)


def _show(found: "FoundRun") -> None:
    from rich.table import Table

    console = results()
    facts = {
        "run": found.run_id,
        "name": found.name,
        "status": found.status.lower(),
        "started": f"{found.started.replace('T', ' ')[:19]} UTC, took {found.took}",
        "preset": found.preset,
        "set": found.set,
        "model": found.model,
        "verdict": found.verdict,
        "error": found.error,
        "code": found.code,
    }
    for name, value in facts.items():
        if value:
            console.print(f"{name:8} {value}", markup=False, soft_wrap=True)
    if found.test:
        table = Table("test set", "value", box=None, pad_edge=False)
        for title, value in found.test.items():
            table.add_row(title, value)
        console.print(table)
    if found.model:
        console.print("\nnext: gradus compare RUN RUN, gradus promote RUN", markup=False)
