"""`gradus export`: write a model for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from components.core.errors import ConfigError
from pipelines.cli.console import AsJson, Debug, errors_as_lines, print_result, say
from pipelines.cli.using.answering import Model, load

if TYPE_CHECKING:
    from pipelines.exporting import Exported

EXAMPLES = """
[bold]Examples[/bold]\n
gradus export models:/spam-classifier@champion --to hf --output spam-classifier\n
gradus export 0a1b2c3d4e5f60718293a4b5c6d7e8f9 --to gguf --quantize q8_0 --output follower-gguf\n
gradus export models:/instruction-follower@champion --to ollama --output follower\n
gradus export models:/instruction-follower/3 --to adapter --output follower-adapter --json\n
"""

To = Annotated[
    Literal["hf", "gguf", "ollama", "adapter"],
    typer.Option("--to", help="hf: a folder for transformers. gguf: a file for llama.cpp. ollama: one with its "
    "Modelfile. adapter: a folder for peft."),
]  # fmt: skip
Quantize = Annotated[
    Literal["f16", "bf16", "q8_0", "q4_0"] | None,
    typer.Option(help="With gguf and ollama: what weights are rounded to; f16 if left out."),
]


def export(
    model: Model,
    to: To,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write; must not exist yet.")],
    quantize: Quantize = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a model for other programs, and check that it computes the same there.

    What was written is loaded again, by transformers where that is installed, else by Gradus's own reader, and compared
    with the original: logits and greedy tokens on fixed prompts. Where they differ the command fails, and leaves
    nothing. What came of it is printed, and set as tag `gradus.export.parity` on the version, if it is registered. The
    folder also holds the model's card (README.md).
    """
    with errors_as_lines(debug):
        if quantize and to not in ("gguf", "ollama"):
            raise ConfigError(f"--quantize is for --to gguf and --to ollama; with --to {to} leave it out")
        from components.models.export.export import refuse_existing

        refuse_existing(output)
        loaded, _ = load(model)
        from pipelines import exporting

        found = exporting.export(model, loaded, to, quantize or "f16", output)
        print_result(found, as_json, _show)


def _show(found: "Exported") -> None:
    for note in found.notes:
        say(f"gradus: {note}", style="yellow")
    typer.echo(f"{found.output}: {', '.join(found.files)}")
    typer.echo(str(found.parity))
    if found.version:
        typer.echo(f"noted on version {found.version}")
