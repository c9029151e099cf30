"""The progress bar of a training run."""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

WINDOW = 20
"""Batches over which the bar averages loss and accuracy."""


class Progress(Protocol):
    """What the loop tells whoever watches, once a step."""

    def __call__(self, step: int, epoch: int, loss: float, accuracy: float) -> None:
        """Report a finished step, the first being 1."""


@contextmanager
def training_bar(steps: int, epochs: int) -> Iterator[Progress]:
    """Show epoch, step, loss, accuracy and time left on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("fine-tune  epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.1%}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    recent: deque[tuple[float, float]] = deque(maxlen=WINDOW)
    with Bar(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("", total=steps, epoch=1, epochs=epochs, loss=float("nan"), accuracy=float("nan"))

        def report(step: int, epoch: int, loss: float, accuracy: float) -> None:
            recent.append((loss, accuracy))
            means = [sum(column) / len(recent) for column in zip(*recent, strict=True)]
            bar.update(task, completed=step, epoch=epoch, loss=means[0], accuracy=means[1])

        yield report
