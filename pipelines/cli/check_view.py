"""How `gradus check` shows what it found out about a classification preset."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from components.generation.zero_shot import ZeroShot
from components.training.planning.preview import Lengths, Sample
from components.training.planning.timing import Timing
from pipelines.checking import Check, Data
from pipelines.cli.check_tables import (
    histogram,
    one_line,
    plain,
    right,
    show_cost,
    show_counts,
    show_expectations,
    show_notes,
    show_overlap,
    table,
    title,
)

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
        show_cost(console, found.cost, _besides(found.cost.timing) if found.cost.timing else {})
    if found.zero_shot:
        _show_zero_shot(console, found.zero_shot)
    elif found.no_zero_shot:
        title(console, f"no classification by prompt: {found.no_zero_shot}")


def _besides(timing: Timing) -> dict[str, float]:
    """Return the seconds of what a run does besides training."""
    frozen = {"blocks that do not train, once": timing.frozen} if timing.frozen else {}
    return frozen | {"evaluation of all rows at the end": timing.testing}


def _show_data(console: Console, data: Data) -> None:
    title(console, f"data: {data.url}, {data.rows:,} rows, {data.rows_used:,} of them used")
    show_notes(console, data.notes)
    show_expectations(console, data.expectations, data.report)
    show_counts(console, data.classes)
    show_overlap(console, data.overlap, "texts", data.split_warnings)


def _show_lengths(console: Console, lengths: list[Lengths]) -> None:
    title(console, "tokens of a text")
    lines = table("split", *lengths[0].percentiles, "tokens", f"texts over {lengths[0].limit}", "tokens cut off")
    for split in lengths:
        numbers = (*split.percentiles.values(), split.tokens, split.cut_texts, split.cut_tokens)
        lines.add_row(split.split, *(f"{number:,}" for number in numbers))
    right(lines)
    console.print(lines)
    console.print()
    console.print(histogram(lengths[0], "texts"))


def _show_samples(console: Console, samples: list[Sample]) -> None:
    title(console, f"texts of {samples[0].split} as the network gets them")
    for sample in samples:
        console.print(_tokens(sample.pieces, colour=bool(console.color_system)), soft_wrap=True)
        console.print(plain(f"  ids {' '.join(map(str, sample.ids))}"), style="dim")
        padded = f"padded to {sample.padded_to}" if sample.padded_to else "padded to the longest of its batch"
        cut = f", {sample.lost} more cut off" if sample.lost else ""
        console.print(plain(f"  label {sample.label}; {len(sample.ids)} tokens{cut}, {padded}; read at {sample.read}"))


def _tokens(pieces: Iterable[str], colour: bool) -> Text:
    """Return tokens with their boundaries to be seen."""
    shown = [one_line(piece) for piece in pieces]
    if not colour:
        return Text("  |" + "|".join(shown) + "|")
    return Text("  ").append_text(Text.assemble(*((piece, STRIPES[at % 2]) for at, piece in enumerate(shown))))


def _show_zero_shot(console: Console, tried: ZeroShot) -> None:
    title(console, "classification by prompt, before any training")
    console.print(plain(f"asked: {tried.prompt!r}"))
    console.print(plain(f"it would write: {tried.continuation!r}"))
    lines = table("label", "it says", "text")
    for guess in tried.guesses[:SHOWN_GUESSES]:
        lines.add_row(plain(guess.truth), plain(guess.said), plain(one_line(guess.text)[:SHOWN_CHARACTERS]))
    console.print(lines)
    console.print(
        f"right on {tried.accuracy:.0%} of {len(tried.guesses)} validation rows; always the commonest label: "
        f"{tried.always:.0%}. A base GPT-2 does little better than chance: this shows that its weights were read."
    )
