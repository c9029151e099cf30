"""The progress bar of a training run."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from components.core.progress import progress_bar

WINDOW = 20
"""Batches over which the bar averages loss and accuracy."""


Progress = Callable[[int, int, float, float], None]
"""Told after every step its number, the first being 1, its epoch, loss and accuracy."""


@contextmanager
def training_bar(steps: int, epochs: int) -> Iterator[Progress]:
    """Show epoch, step, loss, accuracy and time left on standard error, if that is a terminal."""
    recent: deque[tuple[float, float]] = deque(maxlen=WINDOW)
    what = f"fine-tune  epoch {{task.fields[epoch]}}/{epochs}"
    more = "loss {task.fields[loss]:.3f}  accuracy {task.fields[accuracy]:.1%}"
    with progress_bar(what, steps, more, epoch=1, loss=float("nan"), accuracy=float("nan")) as update:

        def report(step: int, epoch: int, loss: float, accuracy: float) -> None:
            recent.append((loss, accuracy))
            means = [sum(column) / len(recent) for column in zip(*recent, strict=True)]
            update(completed=step, epoch=epoch, loss=means[0], accuracy=means[1])

        yield report
