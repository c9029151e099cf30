"""`gradus push`: upload a model to the Hugging Face hub."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, print_result
from pipelines.cli.using.answering import Model, load

if TYPE_CHECKING:
    from pipelines.pushing import Pushed

EXAMPLES = """
[bold]Examples[/bold]\n
gradus push models:/spam-classifier@champion my-team/spam-classifier\n
gradus push 0a1b2c3d4e5f60718293a4b5c6d7e8f9 me/instruction-follower --public\n
"""


def push(
    model: Model,
    repository: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the hub; made if it is not there.")],
    public: Annotated[bool, typer.Option("--public", help="For everybody to see; else private.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Upload a model to the Hugging Face hub, as `gradus export --to hf` writes it, with its card.

    It is compared with the original first, and uploaded in one commit. The token is that of `hf auth login` or
    HF_TOKEN; HF_ENDPOINT names another hub. A repository is made private; one that is public already wants --public.
    """
    with errors_as_lines(debug):
        from components.models.export.hub import check_repository

        check_repository(repository, public)
        loaded, _ = load(model)
        from pipelines import pushing

        print_result(pushing.push(model, loaded, repository, public), as_json, _show)


def _show(found: "Pushed") -> None:
    typer.echo(f"{found.url} ({'private' if found.private else 'public'}): {', '.join(found.files)}")
    typer.echo(str(found.parity))
    if found.version:
        typer.echo(f"noted on version {found.version}")
