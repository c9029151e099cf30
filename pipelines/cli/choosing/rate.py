"""`gradus rate`: people's ratings of a run's responses."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import AsJson, Debug, RunArgument, errors_as_lines, print_result

if TYPE_CHECKING:
    from pipelines.comparing.rating import RatingResult

EXAMPLES = """
[bold]Examples[/bold]\n
gradus rate 0a1b2c3d --file ratings.csv\n
gradus rate models:/instruct@candidate --file ratings.csv --by anna\n
gradus rate 0a1b2c3d
"""


def rate(
    run: RunArgument,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A table (.csv, .tsv, .json, .jsonl, .parquet) with row and rating (0 to 100, or good or bad), and "
            "rater and comment if you like.",
        ),
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who rated, where the file does not say it.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Keep people's ratings of an instruction run's responses in MLflow: a trace a response, an assessment a rating.

    Without a file every response gets a trace, to be rated in MLflow's page (the experiment's traces, Add assessment).
    Somebody's rating of a response replaces the one before. `gradus judge RUN --ratings` shows how far judges agree.

    Exit codes: 0 done, 1 the ratings or the run cannot be read, 2 bad usage.
    """
    with errors_as_lines(debug):
        from components.core.home import home
        from pipelines.comparing.rating import rate_run

        print_result(rate_run(run, file, by, home()), as_json, _show)


def _show(found: "RatingResult") -> None:
    if found.changed or not found.offered:
        typer.echo(f"{found.changed:,} ratings are new or other than before")
    if found.offered:
        typer.echo(f"{found.offered:,} responses have got a trace, on which they can be rated in MLflow's page")
    typer.echo(
        f"run {found.run_id}: {found.rated:,} of {found.responses:,} responses are rated, by {found.people:,} people"
    )
