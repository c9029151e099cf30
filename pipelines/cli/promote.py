"""`gradus promote`: make a model the champion of its name."""

from typing import Annotated

import typer

from components.errors import ConfigError
from pipelines.cli.console import Debug, errors_as_lines, set_defaults

EXAMPLES = """
[bold]Examples[/bold]\n
gradus promote 0a1b2c3d\n
gradus promote models:/spam-classifier@candidate --metric f1\n
gradus promote models:/spam-classifier@previous_champion --force --reason "the new one is too slow"\n
"""


def promote(
    model: Annotated[
        str, typer.Argument(metavar="RUN|MODEL", help="A run's id or its first 8 characters, or models:/NAME@ALIAS.")
    ],
    name: Annotated[
        str | None, typer.Option("--model-name", help="The registered model, if the run's stands under several names.")
    ] = None,
    metric: Annotated[str, typer.Option("--metric", help="What must not be lower than the champion's.")] = "accuracy",
    force: Annotated[bool, typer.Option("--force", help="Promote without a comparison; needs --reason.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands on the model's page.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    debug: Debug = False,
) -> None:
    """Point the alias `champion` at a model, if it is not worse than the present one on the same test rows.

    The champion before keeps the alias `previous_champion`. Exit codes: 0 it is the champion, 1 it is not.
    """
    with errors_as_lines(debug):
        if force != bool(reason.strip()):
            raise ConfigError("--force and --reason TEXT go together: whoever reads the model's page wants to know why")
        set_defaults()
        from components.home import home
        from pipelines.comparison import promote as promote_model

        done = promote_model(model, home(), name, metric, reason.strip() or None)
        if as_json:
            typer.echo(done.model_dump_json())
            return
        if done.changed:
            before = f" in place of version {done.champion_before}" if done.champion_before else ""
            typer.echo(f"version {done.version} of {done.model} is now champion{before}")
        typer.echo(done.reason)
