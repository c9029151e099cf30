"""What the commands of `gradus data` share."""

import signal
from pathlib import Path
from typing import Annotated

import typer

As = Annotated[
    str, typer.Option("--as", metavar="FORM", help="What the rows are: classification, instruction or chat.")
]
NewFolder = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="A new folder for what is written.")]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="source.KEY (how the file is read), split.KEY (how rows are dealt), hosted.KEY.",
    ),
]


def stop_cleanly() -> None:
    """Let a command that is told to stop take away what it has begun to write, as with Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
