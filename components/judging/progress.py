"""The progress bar of a judging."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from components.core.progress import progress_bar
from components.judging.verdicts import Verdict


@contextmanager
def judging_bar(name: str, total: int, kept: int) -> Iterator[Callable[[Verdict], None]]:
    """Show verdicts made, how many could not be read, and time left on standard error, if that is a terminal.

    `kept` of the `total` verdicts are there already.
    """
    unparsed = 0
    what, more = "judge  {task.fields[name]}", "unreadable {task.fields[unparsed]}"
    with progress_bar(what, total, more, kept, name=name, unparsed=0) as update:

        def report(verdict: Verdict) -> None:
            nonlocal unparsed
            unparsed += verdict.score is None
            update(advance=1, unparsed=unparsed)

        yield report
