"""`gradus data publish`: say that there is new data, for a deployed flow to train on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import console

if TYPE_CHECKING:
    from pipelines.service.publish import Published

EXAMPLES = """
[bold]Examples[/bold]\n
gradus data publish /data/messages-2026-12.csv --preset /data/messages.yaml\n
gradus data publish new.tsv --preset spam --set 'validation.rows={min: 100}' --json
"""


def publish(
    file: Annotated[Path, typer.Argument(help="The data, where workers find it under the same path.")],
    preset: Annotated[str, typer.Option(metavar="PRESET", help="What is to be run on it: a preset's name or file.")],
    overrides: console.Overrides = None,
    as_json: console.AsJson = False,
    debug: console.Debug = False,
) -> None:
    """Tell Prefect's server of a new data file: the event `gradus.data.published`.

    The deployment of the preset's kind runs the preset on it (deploy/README.md), on this very file: its SHA-256 is part
    of the event. Exit codes: 0 told, 1 the server did not take it, 2 bad usage or config.
    """
    with console.errors_as_lines(debug):
        from pipelines.service.publish import publish as tell

        console.print_result(tell(file, preset, overrides or []), as_json, _show)


def _show(found: "Published") -> None:
    typer.echo(f"published {found.path} ({found.bytes:,} bytes, SHA-256 {found.sha256[:12]}...) for {found.preset}")
