"""The progress bar of a judging."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from components.judging.verdicts import Verdict


@contextmanager
def judging_bar(name: str, total: int, kept: int) -> Iterator[Callable[[Verdict], None]]:
    """Show verdicts made, how many could not be read, and time left on standard error, if that is a terminal.

    `kept` of the `total` verdicts are there already.
    """
    if not sys.stderr.isatty():
        yield lambda _verdict: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("judge  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("unreadable {task.fields[unparsed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    unparsed = 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total, completed=kept, unparsed=0)

        def report(verdict: Verdict) -> None:
            nonlocal unparsed
            unparsed += verdict.score is None
            bar.update(task, advance=1, unparsed=unparsed)

        yield report
