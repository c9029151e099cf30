"""What `gradus check` shows: lines, tables, tokens; of every check the data, the lengths of its rows and the cost."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.core.records import Facts

if TYPE_CHECKING:
    from components.training.planning.estimate import Cost, Memory

Shown = Text | Table

TITLE, WARNING, PROBLEM, ASIDE = "bold", "yellow", "red", "dim"
"""Styles of a line."""
STRIPES = ("black on bright_green", "black on bright_cyan")
"""Styles that tokens take turns in."""
NUMBER = re.compile(r"\(?-?\d")
BAR = 40
"""Characters of the longest bar."""
EXPECTATIONS = {"name": "expectation", "status": "status", "expected": "expected", "observed": "observed"}
PAIRS = {"validation": "validation in train", "test": "test in train", "test_validation": "test in validation"}
TWICE = {"exact": "word for word", "folded": "once folded", "near": "near duplicates too"}
PEAKS = {
    "training": "while it trains",
    "saving": "while the model is written",
    "loading": "while the starting weights are read",
}
HELD = {"process": "interpreter and libraries", "data": "tokens of the data", "weights": "weights"}
"""Parts of the memory that are held all the time."""
PARTS = {name: name for name in ("gradients", "optimiser", "activations", "logits")} | {"copies": "copies of weights"}
TIMES = {
    "step": "one step",
    "evaluation": "one evaluation",
    "training": "all steps",
    "evaluating": "all evaluations",
    "frozen": "blocks that do not train, once",
}


def line(text: str, style: str = "") -> Text:
    """Return a line; a title has an empty one before it."""
    return Text(f"\n{text}" if style == TITLE else text, style)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table: whole numbers are written with commas, others with one digit, and all to the right."""
    written = [[_written(cell) for cell in row] for row in rows]
    lines = Table(box=None, pad_edge=False, header_style="dim")
    for place, title in enumerate(columns):
        are_numbers = place > 0 and all(NUMBER.match(row[place]) for row in written)
        lines.add_column(Text(title), justify="right" if are_numbers else "left")
    for row in written:
        lines.add_row(*map(Text, row))
    return lines


def table_of(found: Iterable[Facts], titles: Mapping[str, str]) -> Table:
    """Return a table with a row for each thing found and a column, with its title, for each of its fields."""
    return table([*titles.values()], [[each[name] for name in titles] for each in found])


def _written(cell: object) -> str:
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.1f}" if isinstance(cell, float) else str(cell)


def harmless(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)


def visible(text: str, line_end: str = "⏎") -> str:
    """Return a text with signs for line breaks and tabs, and without what a terminal would obey."""
    return harmless(text.replace("\n", line_end).replace("\t", "⇥"))


def tokens(
    pieces: Sequence[str], marks: tuple[str, str], learnt: Sequence[bool] | None = None, colour: bool | None = None
) -> Text:
    """Return tokens with their boundaries to be seen; line breaks stay, each with a sign of its own.

    Of each `learnt` says whether it stands out, None if all do: in a `colour`, which None takes where the terminal has
    some, or between two `marks`.
    """
    colour = bool(Console().color_system) if colour is None else colour
    text = Text()
    every = zip(learnt or [True] * len(pieces), pieces, strict=True)
    for stands_out, group in groupby(every, key=lambda token: token[0]):
        shown = [visible(piece, "⏎\n") for _, piece in group]
        if not stands_out:
            text.append("".join(shown), ASIDE)
        elif colour:
            text.append_text(Text.assemble(*((piece, STRIPES[place % 2]) for place, piece in enumerate(shown))))
        else:
            text.append(f"{marks[0]}{'|'.join(shown)}{marks[1]}")
    return Text("  ") + Text("\n  ").join(text.split("\n", allow_blank=True))


def size(count: float) -> str:
    """Return bytes in words."""
    return f"{count / 1e9:.2f} GB" if abs(count) >= 1e9 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Return seconds in words."""
    if seconds < 120:
        return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.1f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.1f} min"


def show_data(data: Facts, counts: Mapping[str, Mapping[str, int]], rows: str) -> Iterator[Shown]:
    """Yield what validation and split found; `rows` says what must not stand in two splits."""
    yield line(f"data: {data['url']}, {data['rows']:,} rows, {data['rows_used']:,} of them used", TITLE)
    yield from (line(note, WARNING) for note in data["notes"])
    yield table_of((each | {"status": _status(each)} for each in data["expectations"]), EXPECTATIONS)
    yield line(f"report: {data['report']}")
    names = list(next(iter(counts.values())))
    lines = [(stage, *(each[name] for name in names), sum(each.values())) for stage, each in counts.items()]
    yield table(("rows", *names, "all"), lines)
    twice = ({"near": "not looked for", "pair": PAIRS[pair]} | each for pair, each in data["overlap"].items())
    yield table_of(twice, {"pair": f"{rows} that stand twice"} | TWICE)
    yield from (line(warning, WARNING) for warning in data["split_warnings"])


def _status(expectation: Facts) -> str:
    if expectation["success"] is None:
        return "not evaluated"
    left_out = f"{expectation['failing_rows']} rows left out" if expectation["failing_rows"] else "warning"
    return "passed" if expectation["success"] else left_out


def show_lengths(lengths: Iterable[Facts], titles: dict[str, str], what: str) -> Iterator[Shown]:
    """Yield a table of lengths (`planning.preview`) by percentile and then by `titles`, and bars of the first."""
    every = [each | each["percentiles"] for each in lengths]
    names = {name: name for name in every[0]["percentiles"]}
    yield table_of(every, {"split": "split"} | names | titles)
    bars, most = every[0]["bars"], max(bar["texts"] for bar in every[0]["bars"])
    rows = ((f"{bar['first']} to {bar['last']}", bar["texts"], "█" * -(-bar["texts"] * BAR // most)) for bar in bars)
    yield table(("tokens", f"{what} in train", ""), rows)


def show_sample(sample: Facts, marks: tuple[str, str], about: str) -> Iterator[Shown]:
    """Yield the tokens of a sample (`planning.preview`), their ids, and what else there is to say `about` it."""
    yield tokens(sample["pieces"], marks, sample.get("learnt"))
    yield line(f"  ids {' '.join(map(str, sample['ids']))}", ASIDE)
    yield line(f"  {about}")


def show_cost(cost: "Cost", later: Mapping[str, float], answering: int) -> Iterator[Shown]:
    """Yield what trains, and what it takes.

    `later` are the seconds of what comes after training, and `answering` the bytes of generating the test split's
    responses, 0 if that is not part of the run.
    """
    yield line("what trains", TITLE)
    every, trained = (sum(getattr(part, name) for part in cost.parameters) for name in ("parameters", "trained"))
    rows = [(part.name, part.parameters, part.trained) for part in cost.parameters]
    yield table(("part", "parameters", "trained"), [*rows, ("all", every, f"{trained:,} ({trained / every:.1%})")])
    plan, memory = cost.plan, dict(_memory(cost.memory, answering))
    yield line(f"{plan.steps:,} steps, {plan.steps_per_epoch:,} an epoch, and {plan.evaluations:,} evaluations", TITLE)
    yield table(("memory at the peak", f"estimated on {cost.device} in {cost.precision}"), memory.items())
    if any(amount.startswith("(") for amount in memory.values()):
        yield line(f"The peak is {PEAKS[cost.memory.peak]}; what stands in brackets is not held then.")
    if cost.timing:
        found = {name: taken for key, name in TIMES.items() if (taken := getattr(cost.timing, key))}
        seconds = found | {**later, "all": cost.timing.total}
        yield table(("time", "estimated"), [(name, duration(each)) for name, each in seconds.items()])
    else:
        yield line("no time estimated: this would not fit into the memory that is free", PROBLEM)


def _memory(memory: "Memory", answering: int) -> Iterator[tuple[str, str]]:
    """Yield the parts of a run's memory, in brackets what is not held at its peak, and sums."""
    for part, name in (HELD | PARTS).items():
        if count := getattr(memory, part):
            yield name, size(count) if part in HELD or part in memory.held else f"({size(count)})"
    if memory.rest:
        yield "gaps between them" if memory.rest > 0 else "not held all at once", size(memory.rest)
    yield "all", size(memory.total)
    if answering:
        yield "all, while the test split is answered", size(answering)
    yield "free", size(memory.available)
