"""How `gradus check` shows what it found out."""

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.generation.zero_shot import ZeroShot
from components.training.estimate import Memory
from components.training.preview import Lengths, Sample
from components.training.timing import Timing
from pipelines.checking import Check, Cost, Data

BAR = 40
"""Characters of the longest bar."""
STRIPES = ("black on bright_white", "black on bright_cyan")
"""Styles that tokens take turns in; without colours `|` stands between them."""
SHOWN_GUESSES = 5
SHOWN_CHARACTERS = 70


def show(found: Check) -> None:
    """Print a check to standard output."""
    console = Console(highlight=False)
    _show_data(console, found.data)
    if found.texts:
        _show_lengths(console, found.texts.lengths)
        _show_samples(console, found.texts.samples)
    if found.cost:
        _show_cost(console, found.cost)
    if found.zero_shot:
        _show_zero_shot(console, found.zero_shot)
    elif found.no_zero_shot:
        _title(console, f"no classification by prompt: {found.no_zero_shot}")


def _show_data(console: Console, data: Data) -> None:
    _title(console, f"data: {data.url}, {data.rows:,} rows, {data.rows_used:,} of them used")
    table = _table("expectation", "status", "expected", "observed")
    for line in data.expectations:
        table.add_row(*map(_plain, (line["name"], _status(line), line["expected"], line["observed"])))
    console.print(table)
    console.print(_plain(f"report: {data.report}"), soft_wrap=True)
    labels = list(data.classes["validated"])
    table = _table("rows", *labels, "all")
    for stage, counts in data.classes.items():
        table.add_row(_plain(stage), *(f"{count:,}" for count in (*counts.values(), sum(counts.values()))))
    _right(table)
    console.print()
    console.print(table)
    pairs = {"validation": "validation in train", "test": "test in train", "test_validation": "test in validation"}
    table = _table("texts that stand twice", "word for word", "but for case, space, digits")
    for name, counts in data.overlap.items():
        table.add_row(pairs[name], f"{counts['exact']:,}", f"{counts['folded']:,}")
    _right(table)
    console.print()
    console.print(table)


def _status(line: dict[str, object]) -> str:
    if line["success"] is None:
        return "not evaluated"
    return (
        "passed" if line["success"] else f"{line['failing_rows']} rows left out" if line["failing_rows"] else "warning"
    )


def _show_lengths(console: Console, lengths: list[Lengths]) -> None:
    _title(console, "tokens of a text")
    table = _table("split", *lengths[0].percentiles, "tokens", f"texts over {lengths[0].limit}", "tokens cut off")
    for split in lengths:
        numbers = (*split.percentiles.values(), split.tokens, split.cut_texts, split.cut_tokens)
        table.add_row(split.split, *(f"{number:,}" for number in numbers))
    _right(table)
    console.print(table)
    console.print()
    console.print(_histogram(lengths[0]))


def _histogram(lengths: Lengths) -> Table:
    most = max(bar.texts for bar in lengths.bars)
    table = _table("tokens", f"texts in {lengths.split}", "")
    for bar in lengths.bars:
        filled = "█" * -(-bar.texts * BAR // most)
        table.add_row(f"{bar.first} to {bar.last}", f"{bar.texts:,}", filled)
    table.columns[1].justify = "right"
    return table


def _show_samples(console: Console, samples: list[Sample]) -> None:
    _title(console, f"texts of {samples[0].split} as the network gets them")
    for sample in samples:
        console.print(_tokens(sample.pieces, colour=bool(console.color_system)), soft_wrap=True)
        console.print(_plain(f"  ids {' '.join(map(str, sample.ids))}"), style="dim")
        padded = f"padded to {sample.padded_to}" if sample.padded_to else "padded to the longest of its batch"
        cut = f", {sample.lost} more cut off" if sample.lost else ""
        console.print(_plain(f"  label {sample.label}; {len(sample.ids)} tokens{cut}, {padded}; read at {sample.read}"))


def _tokens(pieces: Iterable[str], colour: bool) -> Text:
    """Return tokens with their boundaries to be seen."""
    shown = [_one_line(piece) for piece in pieces]
    if not colour:
        return Text("  |" + "|".join(shown) + "|")
    return Text("  ").append_text(Text.assemble(*((piece, STRIPES[at % 2]) for at, piece in enumerate(shown))))


def _show_cost(console: Console, cost: Cost) -> None:
    _title(console, "what trains")
    table = _table("part", "parameters", "trained")
    for part in cost.parameters:
        table.add_row(part.name, f"{part.parameters:,}", f"{part.trained:,}")
    every, trained = (sum(getattr(part, name) for part in cost.parameters) for name in ("parameters", "trained"))
    table.add_row("all", f"{every:,}", f"{trained:,} ({trained / every:.1%})")
    _right(table)
    console.print(table)
    times = cost.plan
    _title(console, f"{times.steps:,} steps, {times.steps_per_epoch:,} an epoch, and {times.evaluations:,} evaluations")
    _show_memory(console, cost.memory, f"estimated on {cost.device} in {cost.precision}")
    console.print()
    if cost.timing:
        _show_timing(console, cost.timing)
    else:
        console.print("no time estimated: this would not fit into the memory that is free", style="red")


PEAKS = {
    "training": "while it trains",
    "saving": "while the model is written",
    "loading": "while the starting weights are read",
}


def _show_memory(console: Console, memory: Memory, title: str) -> None:
    table = _table("memory at the peak", title)
    apart = False
    for name, size, held in _holds(memory):
        apart |= not held
        table.add_row(name, _size(size) if held else f"({_size(size)})")
    table.add_row("all", _size(memory.total))
    table.add_row("free", _size(memory.available))
    _right(table)
    console.print(table)
    if apart:
        console.print(f"The peak is {PEAKS[memory.peak]}; what stands in brackets is not held then.")


def _holds(memory: Memory) -> Iterator[tuple[str, int, bool]]:
    """Yield the parts of a run's memory, and whether they are held at its peak."""
    if memory.process:
        yield "interpreter and libraries", memory.process, True
        yield "tokens of the data", memory.data, True
    yield "weights", memory.weights, True
    if memory.peak == "loading":
        yield "their files, while they are read", memory.loading, True
    yield "gradients", memory.gradients, memory.peak != "loading"
    yield "optimiser", memory.optimiser, memory.peak == "training"
    yield "activations", memory.activations, memory.peak == "training"
    if memory.peak == "saving":
        yield "weights as they are written", memory.saving, True


def _show_timing(console: Console, timing: Timing) -> None:
    table = _table("time", "estimated")
    table.add_row("one step", _duration(timing.step))
    table.add_row("one evaluation", _duration(timing.evaluation))
    table.add_row("all steps", _duration(timing.training))
    table.add_row("all evaluations", _duration(timing.evaluating))
    table.add_row("evaluation of all rows at the end", _duration(timing.testing))
    table.add_row("all", _duration(timing.total))
    _right(table)
    console.print(table)


def _show_zero_shot(console: Console, tried: ZeroShot) -> None:
    _title(console, "classification by prompt, before any training")
    console.print(_plain(f"asked: {tried.prompt!r}"))
    console.print(_plain(f"it would write: {tried.continuation!r}"))
    table = _table("label", "it says", "text")
    for guess in tried.guesses[:SHOWN_GUESSES]:
        table.add_row(_plain(guess.truth), _plain(guess.said), _plain(_one_line(guess.text)[:SHOWN_CHARACTERS]))
    console.print(table)
    console.print(
        f"right on {tried.accuracy:.0%} of {len(tried.guesses)} validation rows; always the commonest label: "
        f"{tried.always:.0%}. A base GPT-2 does little better than chance: this shows that its weights were read."
    )


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(_plain(text), style="bold")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(_plain(column))
    return table


def _right(table: Table) -> None:
    """Align all columns but the first to the right: they are numbers."""
    for column in table.columns[1:]:
        column.justify = "right"


def _plain(text: object) -> Text:
    """Return text in which brackets are no markup."""
    return Text(str(text))


def _one_line(text: str) -> str:
    shown = text.replace("\n", "⏎").replace("\t", "⇥")
    return "".join(character if character.isprintable() else "\ufffd" for character in shown)


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds:.3f} s"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.1f} min"
