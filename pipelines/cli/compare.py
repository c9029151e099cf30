"""`gradus compare`: two runs side by side."""

from typing import Annotated

import typer

from pipelines.cli.console import Debug, errors_as_lines, say, set_defaults

EXAMPLES = """
[bold]Examples[/bold]\n
gradus compare 0a1b2c3d4e5f60718293a4b5c6d7e8f9 9f8e7d6c\n
gradus compare models:/spam-classifier@champion models:/spam-classifier@candidate\n
gradus compare 0a1b2c3d 9f8e7d6c --primary f1\n
gradus compare models:/spam-classifier/3 9f8e7d6c --json > comparison.json
"""

RUN_HELP = "A run id, 8 or more of its first characters, or a runs:/ or models:/ address."


def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)],
    second: Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP)],
    primary: Annotated[
        str | None,
        typer.Option(help="The metric that decides, such as f1 or loss. By default accuracy, or the judge's score."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output.")] = False,
    debug: Debug = False,
) -> None:
    """Compare two runs: parameters that differ, and metrics on the test rows that both have.

    Of classifiers, whether one is right more often is McNemar's exact test on the same rows, leaving out what either
    has learned from. Of instruction runs, whether one's responses score higher is a permutation test on the same rows
    and the same judge's scores. One metric decides; the others are corrected together (Holm), so that of equal models
    at most 5 % of comparisons name a winner in any. Intervals are 95 %.

    Exit codes: 0 done, 1 the two cannot be compared.
    """
    with errors_as_lines(debug):
        set_defaults()
        from components.core.home import home
        from pipelines.comparison import compare_runs

        found = compare_runs(first, second, home(), primary)
        if as_json:
            typer.echo(found.model_dump_json())
        else:
            from pipelines.cli.compare_view import show

            show(found)
        for warning in found.warnings:
            say(f"gradus: {warning}", style="yellow")
        if found.refused:
            say(f"gradus: {found.refused}", style="red")
            raise typer.Exit(1)
