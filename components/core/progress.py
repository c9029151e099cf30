"""A progress bar on standard error, if that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any


@contextmanager
def progress_bar(what: str, total: int, more: str, done: int = 0, **fields: Any) -> Iterator[Callable[..., None]]:
    """Show how much of `total` is done, and the time left; give what updates it, as `rich.progress.Progress.update`.

    `more` is shown as well, with the `fields` in it (`{task.fields[NAME]}`), which updates may change.
    """
    from rich import progress
    from rich.console import Console

    # A text is a column too.
    figures = (progress.BarColumn(), progress.MofNCompleteColumn(), more, progress.TimeElapsedColumn())
    columns, console = (what, *figures, "left", progress.TimeRemainingColumn()), Console(stderr=True)
    with progress.Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        yield partial(bar.update, bar.add_task("", total=total, completed=done, **fields))
