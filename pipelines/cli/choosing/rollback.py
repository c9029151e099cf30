"""`gradus rollback` and `gradus history`: back to an earlier champion, and who was champion when."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, print_result, results, warn

if TYPE_CHECKING:
    from pipelines.promoting.rollback import HistoryResult

ROLLBACK_EXAMPLES = """
[bold]Examples[/bold]\n
gradus rollback spam-classifier\n
gradus rollback spam-classifier --reason "complaints about missed spam since noon"\n
gradus rollback spam-classifier --to 3
"""
HISTORY_EXAMPLES = """
[bold]Examples[/bold]\n
gradus history spam-classifier\n
gradus history spam-classifier --json
"""
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The name of a registered model.")]


def rollback(
    model: Model,
    to: Annotated[str | None, typer.Option("--to", metavar="VERSION", help="Go back to this version.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept in the model's history.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Set the alias `champion` back on the version that had it before.

    That is the champion before the present one that nobody has gone back behind; a second rollback goes one further.
    The version is loaded before the alias moves. Those after it are no measure for later models. Exit codes: 0 done; 1
    refused, nothing changed; 2 bad usage.
    """
    with errors_as_lines(debug):
        from components.core.home import home
        from pipelines.promoting.rollback import rollback as go_back

        found = go_back(model, home(), to, reason)
        print_result(found, as_json, lambda found: typer.echo(found.sentence))
        warn(found.warnings)


def history(model: Model, as_json: AsJson = False, debug: Debug = False) -> None:
    """Show every promotion and rollback of a model: when, which version, in place of which, by whom, and why.

    Exit codes: 0 done, 1 there is no such model, 2 bad usage.
    """
    with errors_as_lines(debug):
        from components.core.home import home
        from pipelines.promoting.rollback import history_of

        print_result(history_of(model, home()), as_json, _show)


def _show(found: "HistoryResult") -> None:
    from rich.table import Table
    from rich.text import Text

    console = results()
    table = Table("when (UTC)", "what", "version", "before", "by", "why")
    for event in found.events:
        why = event.reason or event.evidence
        row = (event.at[:19].replace("T", " "), event.action, event.version, event.over or "-", event.by, why)
        table.add_row(*map(Text, row))
    if table.rows:
        console.print(table)
    console.print(Text(found.sentence), soft_wrap=True)
