"""What `gradus check` shows of every kind of flow: expectations, memory, time, and how numbers are written."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.training.planning.estimate import Memory, Part
from components.training.planning.preview import Lengths
from components.training.planning.timing import Timing
from pipelines.checked import Cost

BAR = 40
"""Characters of the longest bar."""


def show_notes(console: Console, notes: Iterable[str]) -> None:
    """Print what was noticed when the file was read, a line each."""
    for note in notes:
        console.print(plain(note), style="yellow", soft_wrap=True)


def show_expectations(console: Console, expectations: list[dict[str, Any]], report: object) -> None:
    """Print what validation says."""
    lines = table("expectation", "status", "expected", "observed")
    for line in expectations:
        lines.add_row(*map(plain, (line["name"], _status(line), line["expected"], line["observed"])))
    console.print(lines)
    console.print(plain(f"report: {report}"), soft_wrap=True)


def _status(line: dict[str, object]) -> str:
    if line["success"] is None:
        return "not evaluated"
    return (
        "passed" if line["success"] else f"{line['failing_rows']} rows left out" if line["failing_rows"] else "warning"
    )


def show_counts(console: Console, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Print the rows of each class or task, stage by stage, and their sum."""
    names = list(next(iter(counts.values())))
    lines = table("rows", *names, "all")
    for stage, each in counts.items():
        lines.add_row(plain(stage), *(f"{each[name]:,}" for name in names), f"{sum(each.values()):,}")
    right(lines)
    console.print()
    console.print(lines)


def show_overlap(console: Console, overlap: dict[str, dict[str, int]], what: str, warnings: Iterable[str]) -> None:
    """Print how many rows stand in two splits, and what else to know of them; `what` says what is compared."""
    pairs = {"validation": "validation in train", "test": "test in train", "test_validation": "test in validation"}
    lines = table(f"{what} that stand twice", "word for word", "once folded", "near duplicates too")
    for name, counts in overlap.items():
        near = f"{counts['near']:,}" if "near" in counts else "not looked for"
        lines.add_row(pairs[name], f"{counts['exact']:,}", f"{counts['folded']:,}", near)
    right(lines)
    console.print()
    console.print(lines)
    for warning in warnings:
        console.print(plain(warning), style="yellow", soft_wrap=True)


def histogram(lengths: Lengths, what: str) -> Table:
    """Return the bars of a split's lengths."""
    most = max(bar.texts for bar in lengths.bars)
    lines = table("tokens", f"{what} in {lengths.split}", "")
    for bar in lengths.bars:
        filled = "█" * -(-bar.texts * BAR // most)
        lines.add_row(f"{bar.first} to {bar.last}", f"{bar.texts:,}", filled)
    lines.columns[1].justify = "right"
    return lines


def show_cost(console: Console, cost: Cost, after: Mapping[str, float], answering: int = 0) -> None:
    """Print what trains, and what it takes; `after` names the seconds of what comes after training.

    `answering` is the memory of generating the test split's responses, in bytes, 0 if that is not part of the run.
    """
    title(console, "what trains")
    _show_parts(console, cost.parameters)
    times = cost.plan
    title(console, f"{times.steps:,} steps, {times.steps_per_epoch:,} an epoch, and {times.evaluations:,} evaluations")
    _show_memory(console, cost.memory, f"estimated on {cost.device} in {cost.precision}", answering)
    console.print()
    if cost.timing:
        _show_timing(console, cost.timing, after)
    else:
        console.print("no time estimated: this would not fit into the memory that is free", style="red")


def _show_parts(console: Console, parts: list[Part]) -> None:
    lines = table("part", "parameters", "trained")
    for part in parts:
        lines.add_row(part.name, f"{part.parameters:,}", f"{part.trained:,}")
    every, trained = (sum(getattr(part, name) for part in parts) for name in ("parameters", "trained"))
    lines.add_row("all", f"{every:,}", f"{trained:,} ({trained / every:.1%})")
    right(lines)
    console.print(lines)


PEAKS = {
    "training": "while it trains",
    "evaluating": "while a loss is measured",
    "saving": "while the model is written",
    "loading": "while the starting weights are read",
}
PARTS = {
    "gradients": "gradients",
    "optimiser": "optimiser",
    "activations": "activations",
    "logits": "logits",
    "copies": "copies of weights",
}


def _show_memory(console: Console, memory: Memory, heading: str, answering: int) -> None:
    lines = table("memory at the peak", heading)
    apart = False
    for name, count, held in _parts(memory):
        apart |= not held
        lines.add_row(name, size(count) if held else f"({size(count)})")
    lines.add_row("all", size(memory.total))
    if answering:
        lines.add_row("all, while the test split is answered", size(answering))
    lines.add_row("free", size(memory.available))
    right(lines)
    console.print(lines)
    if apart:
        console.print(f"The peak is {PEAKS[memory.peak]}; what stands in brackets is not held then.")


def _parts(memory: Memory) -> Iterator[tuple[str, int, bool]]:
    """Yield the parts of a run's memory, and whether they are held at its peak."""
    if memory.process:
        yield "interpreter and libraries", memory.process, True
        yield "tokens of the data", memory.data, True
    yield "weights", memory.weights, True
    for part, name in PARTS.items():
        if count := getattr(memory, part):
            yield name, count, part in memory.held
    if memory.rest:
        yield "gaps between them" if memory.rest > 0 else "not held all at once", memory.rest, True


def _show_timing(console: Console, timing: Timing, after: Mapping[str, float]) -> None:
    lines = table("time", "estimated")
    lines.add_row("one step", duration(timing.step))
    lines.add_row("one evaluation", duration(timing.evaluation))
    lines.add_row("all steps", duration(timing.training))
    lines.add_row("all evaluations", duration(timing.evaluating))
    for name, seconds in after.items():
        lines.add_row(name, duration(seconds))
    lines.add_row("all", duration(timing.total))
    right(lines)
    console.print(lines)


def title(console: Console, text: str) -> None:
    """Print an empty line and a heading."""
    console.print()
    console.print(plain(text), style="bold")


def table(*columns: str) -> Table:
    """Return a table without lines."""
    lines = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        lines.add_column(plain(column))
    return lines


def right(lines: Table) -> None:
    """Align all columns but the first to the right: they are numbers."""
    for column in lines.columns[1:]:
        column.justify = "right"


def plain(text: object) -> Text:
    """Return text in which brackets are no markup."""
    return Text(str(text))


def one_line(text: str) -> str:
    """Return text with signs for line breaks and tabs, and none that a terminal would obey."""
    return printable(text.replace("\n", "⏎").replace("\t", "⇥"))


def printable(text: str) -> str:
    """Return text in which nothing is left that a terminal would obey."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def size(count: float) -> str:
    """Return bytes in words."""
    return f"{count / 1e9:.2f} GB" if abs(count) >= 1e9 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Return seconds in words."""
    if seconds < 1:
        return f"{seconds:.3f} s"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.1f} min"
