"""`gradus promote`: make a model the champion, if it is shown not to be worse than the present one."""

from typing import Annotated

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, print_result, set_defaults

EXAMPLES = """
[bold]Examples[/bold]\n
gradus promote 9f8e7d6c\n
gradus promote models:/spam-classifier@candidate\n
gradus promote 9f8e7d6c --margin 0.02\n
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
    margin: Annotated[
        float | None,
        typer.Option(help="How much worse it may be: a share of right ones (0.01), or points of a judge's score (2)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Promote whatever the figures say; needs --reason.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; kept as a tag of the version and of the run.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Set the alias `champion` on a model's version, if it is shown not to be worse than champions are.

    On at least 100 test rows that neither was trained on, the lower end of the 95 % interval of the difference must be
    above minus the margin, of accuracies or of instruction runs the same judge's scores: beside the champion, and
    beside earlier ones that were neither forced nor rolled back. A first champion must be better than the majority
    class, or than the model that it started from. The margin is that of --margin, or of the registered model's tag
    `gradus.promotion.margin`, or 0.01 (2 points of a judge's score). The former champion becomes `previous_champion`.
    Exit codes: 0 done, or it is the champion already; 1 refused, nothing changed; 2 bad usage.
    """
    with errors_as_lines(debug):
        set_defaults()
        from components.core.home import home
        from pipelines.promoting.promote import promote as decide

        found = decide(model, home(), model_name, force, reason, margin)
        print_result(found, as_json, lambda found: typer.echo(found.sentence))
