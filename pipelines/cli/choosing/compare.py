"""`gradus compare`: runs side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, print_result, results, say, warn

if TYPE_CHECKING:
    from pipelines.compared import Comparisons

EXAMPLES = """
[bold]Examples[/bold]\n
gradus compare 0a1b2c3d4e5f60718293a4b5c6d7e8f9 9f8e7d6c\n
gradus compare models:/spam-classifier@champion models:/spam-classifier@candidate\n
gradus compare 0a1b2c3d 9f8e7d6c --primary f1\n
gradus compare 0a1b2c3d 9f8e7d6c 1c2d3e4f --html comparison.html\n
gradus compare 9f8e7d6c 1c2d3e4f --baseline models:/spam-classifier@champion\n
gradus compare models:/spam-classifier/3 9f8e7d6c --json > comparison.json
"""
RUN_HELP = "A run id, 8 or more of its first characters, or a runs:/ or models:/ address."


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help=RUN_HELP)],
    baseline: Annotated[
        str | None, typer.Option(metavar="RUN", help="The run that all others are compared with; by default the first.")
    ] = None,
    primary: Annotated[
        str | None,
        typer.Option(help="The metric that decides, such as f1 or loss. By default accuracy, or the judge's score."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page that opens offline, with curves and examples.")
    ] = None,
    log: Annotated[
        bool, typer.Option(help="Log it to the runs that were compared, as artifacts under comparisons/.")
    ] = True,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare runs with the first: parameters that differ, and metrics on the test rows that both have.

    Of classifiers, whether one is right more often is McNemar's exact test on the same rows, leaving out what either
    has learned from. Of instruction runs, whether one's responses score higher is a permutation test on the same rows
    and the same judge's scores. One metric decides; the others are corrected together (Holm), so that of equal models
    at most 5 % of comparisons name a winner in any. With more than two runs the metric that decides is corrected for
    all of the comparisons as well. Intervals are 95 %.

    Exit codes: 0 done, 1 some of the runs cannot be compared, 2 bad usage.
    """
    with errors_as_lines(debug):
        from components.core.home import home
        from components.reporting.pages import check_place
        from pipelines.comparison import compare_all

        if html:
            check_place("--html", html)
        found = compare_all(runs, home(), primary, baseline)
        try:
            # Of two runs, what `--json` prints is what it was before there could be more.
            if len(found.comparisons) == 1:
                print_result(found.comparisons[0], as_json, lambda _: _show(found))
            else:
                print_result(found, as_json, _show)
            warn(found.warnings)
        finally:  # also for whoever has read enough, such as `head`
            _keep(found, html, log)
        for refused in found.refused:
            say(f"gradus: {refused}", style="red")
        if found.refused:
            raise typer.Exit(1)


def _show(found: "Comparisons") -> None:
    from pipelines.comparing.printed import show

    show(found, results())


def _keep(found: "Comparisons", html: Path | None, log: bool) -> None:
    """Write the page, and log it to the runs; what cannot be logged costs no comparison."""
    from components.core.errors import TrackingError
    from components.core.home import home
    from components.reporting.pages import write_page
    from pipelines.comparing.page import log_comparison, page_of

    log = log and any(each.compared for each in found.comparisons)
    if not (html or log):
        return
    try:
        page = page_of(found, home())
        if html:
            write_page("--html", html, page)
            html = None
        if log:
            log_comparison(found, page, home())
    except TrackingError as error:
        if html:  # which was asked for and is not there
            raise
        say(f"gradus: the comparison is not logged: {error}", style="yellow")
