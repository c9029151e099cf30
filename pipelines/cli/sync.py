"""`gradus sync`: send to MLflow what runs have kept while it was away."""

import typer

from pipelines.cli.console import Debug, errors_as_lines, quieten, say

EXAMPLES = """
[bold]Examples[/bold]\n
gradus sync\n
MLFLOW_TRACKING_URI=http://mlflow.example.org:5000 gradus sync
"""


def sync(debug: Debug = False) -> None:
    """Send to MLflow what runs have kept while it was away.

    May be stopped and run again at any moment: nothing is sent twice.
    Exit codes: 0 nothing is left to send but what its own process is sending, 1 something is.
    """
    with errors_as_lines(debug):
        if not debug:
            quieten()
        from components.core.home import home
        from components.tracking.outbox.syncing import sync as send

        done = []
        for run in send(home()):
            done.append(run)
            what = "its own process, or another gradus sync, is sending it" if run.by_itself else run.error or "sent"
            say(f"run {run.name} {run.run_id or ''}: {what}", style="red" if run.error else "")
            if what == "sent" and run.run_id:
                tell_of_its_candidate(run.run_id)
        if not done:
            say("gradus: nothing waits to be sent")
        if any(run.error for run in done):
            raise typer.Exit(1)


def tell_of_its_candidate(run_id: str) -> None:
    """Tell Prefect's server, where one is set up, of the candidate that a run has left by now."""
    from components.core.home import home
    from components.tracking.listing import listed_run
    from components.tracking.names import CANDIDATE
    from pipelines.service.events import tell_of_candidate

    run = listed_run(run_id, home())
    version, _, aliases = (run.model or "").partition("@")
    model = f"models:/{version.strip()}"
    if CANDIDATE in aliases and (warning := tell_of_candidate(model, run_id, run.pipeline, run.preset)):
        say(warning, style="red")
