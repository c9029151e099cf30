"""`gradus check`: look at a preset, its data and what a run would cost, and train nothing."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.console import Debug, Overrides, errors_as_lines, quieten, say

if TYPE_CHECKING:
    from pipelines.checked import Found
    from pipelines.kinds.instruction.config import InstructionConfig

EXAMPLES = """
[bold]Examples[/bold]\n
gradus check spam-demo\n
gradus check spam --set train.trainable=lora --set train.batch_size=64\n
gradus check instruct --set train.batching=packed\n
gradus check my-data.yaml --json > check.json
"""


def check(
    preset: Annotated[str, typer.Argument(metavar="PRESET_OR_YAML", help="A name from `gradus presets`, or a file.")],
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output.")] = False,
    debug: Debug = False,
) -> None:
    """Check a preset and its data before anything is trained.

    Shows how the texts look as tokens, what is cut, what trains, how much memory and time a run would take (both
    estimated); of a classifier, how pretrained weights do without training; of instructions, what is learnt and what is
    masked, and whether the judge can be asked. A run takes the data from here. Exit codes: 0 done, 1 failed or weights
    or vocabulary missing, 2 bad usage or config, 3 data rejected, 130 interrupted.
    """
    with errors_as_lines(debug):
        from pipelines.config import load_config

        config = load_config(preset, overrides or [])
        if not debug:
            quieten()
        say(f"gradus: checking {config.name}; nothing is trained")
        found = _check(config, show=not as_json)
        if as_json:
            typer.echo(found.model_dump_json())
        for line in found.missing:
            say(f"gradus: {line}", style="red")
        if found.missing:
            raise typer.Exit(1)


def _check(config: Any, show: bool) -> "Found":
    """Check what a config's flow needs, and print it if it is to be shown."""
    from pipelines.kinds.instruction.config import InstructionConfig

    if isinstance(config, InstructionConfig):
        return _check_instruction(config, show)
    from pipelines.checking import check as examine

    found = examine(config)
    if show:
        from pipelines.cli.check_view import show as show_found

        show_found(found)
    return found


def _check_instruction(config: "InstructionConfig", show: bool) -> "Found":
    from pipelines.instruction_checking import check_instruction

    found = check_instruction(config)
    if show:
        from pipelines.cli.instruction_check_view import show_instructions

        show_instructions(found)
    return found
