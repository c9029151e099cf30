"""The progress bar of generating responses."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from components.generation.batched import Report


@contextmanager
def generation_bar(rows: int, done: int = 0) -> Iterator[Report]:
    """Show rows, tokens and time left on standard error, if that is a terminal; `done` rows are there already."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("respond"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[tokens]:,} tokens"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("", total=rows, completed=done, tokens=0)

        def report(ended: int, tokens: int) -> None:
            bar.update(task, advance=ended, tokens=bar.tasks[task].fields["tokens"] + tokens)

        yield report
