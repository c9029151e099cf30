"""`gradus deploy`: tell Prefect's server what to run, when, and after what."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import console

if TYPE_CHECKING:
    from pipelines.service.deploy import Deployed

EXAMPLES = """
[bold]Examples[/bold]\n
PREFECT_API_URL=http://127.0.0.1:4200/api gradus deploy\n
gradus deploy --file my/prefect.yaml --json
"""


def deploy(
    file: Annotated[
        Path, typer.Option(metavar="FILE", help="Deployments as Prefect has them; automations.yaml beside it too.")
    ] = Path("deploy/prefect.yaml"),
    as_json: console.AsJson = False,
    debug: console.Debug = False,
) -> None:
    """Put deployments, their schedules and triggers, work pools and automations on Prefect's server.

    What is there already is brought up to date, so it may be repeated. A pool that is missing is made, of type process.
    Exit codes: 0 done, 1 the server refused or does not answer, 2 bad usage or config.
    """
    with console.errors_as_lines(debug):
        if not debug:
            console.quieten()
        from pipelines.service.deploy import deploy as apply

        console.print_result(apply(file), as_json, _show)


def _show(found: "Deployed") -> None:
    for what, names in (
        ("work pool", found.pools),
        ("deployment", found.deployments),
        ("automation", found.automations),
        ("secret", found.secrets),
    ):
        for name in names:
            typer.echo(f"{what:<10}  {name}")
    for name in found.left_out:
        typer.echo(f"left out    {name}: there is no block of the name that it gives (deploy/README.md)")
