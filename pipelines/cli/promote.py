"""`gradus promote`: make a model the champion, if it is not worse than the present one."""

from typing import Annotated

import typer

from pipelines.cli.console import Debug, errors_as_lines, set_defaults

EXAMPLES = """
[bold]Examples[/bold]\n
gradus promote 9f8e7d6c\n
gradus promote models:/spam-classifier@candidate\n
gradus promote models:/spam-classifier/4 --force --reason "recall matters more here"\n
gradus promote models:/spam-classifier@previous_champion --force --reason "roll back: complaints since noon"
"""


def promote(
    model: Annotated[
        str, typer.Argument(metavar="RUN_OR_MODEL", help="A run id or its beginning, a runs:/ or models:/ address.")
    ],
    model_name: Annotated[
        str | None, typer.Option(help="The registered model, where the run's model has versions of several.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote whatever the figures say; needs --reason.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; kept as a tag of the version and of the run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output.")] = False,
    debug: Debug = False,
) -> None:
    """Set the alias `champion` on a model's version, if it is not worse than the present champion.

    Refused if on the test rows that both have the champion is right significantly more often (McNemar's exact test,
    p < 0.05) or, of instruction runs, its responses score significantly higher by the same judge (permutation test,
    p < 0.05); or if there are no such rows. The former champion becomes `previous_champion`. Exit codes: 0 done, or it
    is the champion already; 1 refused, nothing changed; 2 bad usage.
    """
    with errors_as_lines(debug):
        set_defaults()
        from components.home import home
        from pipelines.promotion import promote as decide

        found = decide(model, home(), model_name, force, reason)
        typer.echo(found.model_dump_json() if as_json else found.sentence)
