"""What the commands of `gradus data` share."""

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
