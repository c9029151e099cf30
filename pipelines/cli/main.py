"""The entry point of `gradus`."""

import atexit
import gc

import typer

from pipelines.cli import check, compare, generate, judge, predict, presets, promote, respond, run

app = typer.Typer(
    name="gradus",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fine-tune language models as a pipeline you can schedule, trust and compare.",
    epilog="Start with [bold]gradus run spam-demo[/bold] or [bold]gradus run instruct-demo[/bold]: "
    "minutes, no network, nothing to set up.",
)
app.command("check", epilog=check.EXAMPLES)(check.check)
app.command("run", epilog=run.EXAMPLES)(run.run)
app.command("presets")(presets.presets)
app.command("show", epilog=presets.EXAMPLES)(presets.show)
app.command("predict", epilog=predict.EXAMPLES)(predict.predict)
app.command("compare", epilog=compare.EXAMPLES)(compare.compare)
app.command("promote", epilog=promote.EXAMPLES)(promote.promote)
app.command("respond", epilog=respond.EXAMPLES)(respond.respond)
app.command("judge", epilog=judge.EXAMPLES)(judge.judge)
app.command("generate", epilog=generate.EXAMPLES)(generate.generate)


def main() -> None:
    """Run the command line."""
    # Large libraries make objects by the million, few of them in cycles. Looking for these as often as Python does by
    # default takes a fifth of the time that a run takes beside its steps, and once more at the end 2 seconds.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    app()
