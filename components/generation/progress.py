"""The progress bar of generating responses."""

from collections.abc import Iterator
from contextlib import contextmanager

from components.core.progress import progress_bar
from components.generation.batched import Report


@contextmanager
def generation_bar(rows: int, done: int = 0) -> Iterator[Report]:
    """Show rows, tokens and time left on standard error, if that is a terminal; `done` rows are there already."""
    written = 0
    with progress_bar("respond", rows, "{task.fields[tokens]:,} tokens", done, tokens=0) as update:

        def report(ended: int, tokens: int) -> None:
            nonlocal written
            written += tokens
            update(advance=ended, tokens=written)

        yield report
