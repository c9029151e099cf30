"""`gradus check`: look at a preset, its data and what a run would cost, and train nothing."""

from typing import Annotated

import typer

from pipelines.cli.console import AsJson, Debug, Limit, Overrides, errors_as_lines, limited, quieten, results, say

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
    limit: Limit = None,
    as_json: AsJson = False,
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

        config = load_config(preset, limited(overrides, limit))
        if not debug:
            quieten()
        say(f"gradus: checking {config.name}; nothing is trained")
        from pipelines import check as checks

        found = checks.check(config)
        if as_json:
            typer.echo(found.model_dump_json())
        else:
            console = results()
            for item in found.shown:
                console.print(item, soft_wrap=hasattr(item, "plain"))  # lines, not tables
        for line in found.missing:
            say(f"gradus: {line}", style="red")
        if found.missing:
            raise typer.Exit(1)
