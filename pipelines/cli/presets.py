"""`gradus presets` and `gradus show`: what can be run, and with which values."""

from typing import Annotated

import typer

from pipelines.cli.console import Debug, Overrides, errors_as_lines

EXAMPLES = """
[bold]Examples[/bold]\n
gradus show spam\n
gradus show spam --set train.epochs=3 > my-spam.yaml && gradus run my-spam.yaml
"""

SCHEMA_LINE = "# yaml-language-server: $schema=gradus.schema.json\n"
"""By which editors find the schema that `gradus schema > gradus.schema.json` writes beside a preset."""


def presets(debug: Debug = False) -> None:
    """List the presets that come with Gradus: of runs, and of sweeps."""
    with errors_as_lines(debug):
        from rich.console import Console
        from rich.table import Table

        from pipelines.config import shipped_presets
        from pipelines.sweeping.config import load_sweep, shipped_sweeps

        table = Table("preset", "what it does", box=None, pad_edge=False)
        for name, config in shipped_presets().items():
            table.add_row(name, config.description)
        sweeps = Table("sweep", "what it varies", box=None, pad_edge=False)
        for name in shipped_sweeps():
            sweeps.add_row(name, load_sweep(name).description)
        Console().print(table, "", sweeps)


def show(
    preset: Annotated[str, typer.Argument(metavar="PRESET_OR_YAML", help="A name from `gradus presets`, or a file.")],
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Print a preset with every key and its value, as YAML that `gradus run` takes."""
    with errors_as_lines(debug):
        import yaml
        from rich.console import Console
        from rich.syntax import Syntax

        from pipelines.config import load_config

        config = load_config(preset, overrides or [])
        text = SCHEMA_LINE + yaml.safe_dump(
            config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120
        )
        console = Console()
        if console.is_terminal:
            console.print(Syntax(text, "yaml", background_color="default"))
        else:
            typer.echo(text, nl=False)
