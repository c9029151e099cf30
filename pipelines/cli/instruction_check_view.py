"""How `gradus check` shows what it found out about an instruction preset."""

from collections.abc import Iterator
from itertools import groupby

from rich.console import Console
from rich.text import Text

from components.training.planning.preview_entries import BatchingPreview, EntrySample
from pipelines.cli.check_tables import (
    histogram,
    plain,
    printable,
    right,
    show_cost,
    show_counts,
    show_expectations,
    show_notes,
    show_overlap,
    table,
    title,
)
from pipelines.instruction_checking import Data, InstructionCheck, Texts
from pipelines.judge_checking import Judge

LEARNT = ("black on bright_green", "black on bright_cyan")
"""Styles that learnt tokens take turns in."""
MASKED = "dim"
MARKS = "⟦", "⟧"
"""What stands around learnt tokens where there are no colours."""


def show_instructions(found: InstructionCheck) -> None:
    """Print a check to standard output."""
    console = Console(highlight=False)
    _show_data(console, found.data)
    if found.texts:
        _show_samples(console, found.texts)
        _show_lengths(console, found.texts)
        _show_cuts(console, found.texts)
        _show_batchings(console, found.texts)
    if found.cost:
        show_cost(console, found.cost, _after(found), found.answering.memory if found.answering else 0)
    if found.judge:
        _show_judge(console, found.judge)


def _show_data(console: Console, data: Data) -> None:
    title(console, f"data: {data.url}, {data.rows:,} rows, {data.rows_used:,} of them used")
    show_notes(console, data.notes)
    show_expectations(console, data.expectations, data.report)
    if any(data.tasks.values()):
        show_counts(console, _by_task(data))
    else:
        show_counts(console, {split: {"entries": rows} for split, rows in data.splits.items()})
    show_overlap(console, data.overlap, "instructions with their inputs", data.split_warnings)
    longest, mean = data.tokens["longest"], data.tokens["mean"]
    console.print()
    console.print(
        f"{data.empty_inputs:.1%} of the rows have no input; an example has {mean:.1f} tokens on average, "
        f"{longest:,} at most."
    )


def _by_task(data: Data) -> dict[str, dict[str, int]]:
    """Turn splits and tasks around, for there are more of the latter."""
    names = list(dict.fromkeys(name for counts in data.tasks.values() for name in counts))
    return {name: {split: counts.get(name, 0) for split, counts in data.tasks.items()} for name in names}


def _show_samples(console: Console, texts: Texts) -> None:
    colour = bool(console.color_system)
    how = f"what stands between {MARKS[0]} and {MARKS[1]} is learnt"
    if colour:
        how = "what has a colour is learnt, what is dim is masked"
    template = "a template of its own" if texts.template == "own" else f"the template {texts.template}"
    title(console, f"entries of train as the network gets them, in {template}: {how}")
    for sample in texts.samples:
        console.print(masked_text(sample, colour), soft_wrap=True)
        cut = f", {sample.lost:,} more cut off" if sample.lost else ""
        learnt = f"{sum(sample.learnt):,} of {len(sample.ids):,} tokens are learnt{cut}"
        console.print(plain(f"  ids {' '.join(map(str, sample.ids))}"), style="dim")
        console.print(plain(f"  {learnt}"))
        console.print()
    masked = "prompts are masked" if texts.mask_prompt else "prompts are learnt as well"
    console.print(f"{texts.trained_share:.1%} of the training tokens are learnt from: {masked}.")


def masked_text(sample: EntrySample, colour: bool) -> Text:
    """Return an entry in which one sees what is learnt; line breaks stay, each with a sign of its own."""
    text = Text()
    tokens = zip(sample.learnt, sample.pieces, strict=True)
    for learnt, group in groupby(tokens, key=lambda token: token[0]):
        pieces = [_visible(piece) for _, piece in group]
        if not learnt:
            text.append("".join(pieces), MASKED)
        elif colour:
            text.append_text(Text.assemble(*((piece, LEARNT[place % 2]) for place, piece in enumerate(pieces))))
        else:
            text.append(f"{MARKS[0]}{'|'.join(pieces)}{MARKS[1]}")
    return Text("  ") + _indented(text)


def _indented(text: Text) -> Text:
    return Text("\n  ").join(text.split("\n", allow_blank=True))


def _visible(piece: str) -> str:
    return "\n".join(printable(line) for line in piece.replace("\t", "⇥").replace("\n", "⏎\n").split("\n"))


def _show_lengths(console: Console, texts: Texts) -> None:
    title(console, "tokens")
    points = list(texts.lengths["train"]["entry"].percentiles)
    lines = table("split", "of", *points, "all")
    for split, parts in texts.lengths.items():
        for name, lengths in parts.items():
            numbers = (*lengths.percentiles.values(), lengths.tokens)
            lines.add_row(split, name, *(f"{number:,}" for number in numbers))
    right(lines)
    lines.columns[1].justify = "left"
    console.print(lines)
    console.print()
    console.print(histogram(texts.lengths["train"]["entry"], "entries"))


def _show_cuts(console: Console, texts: Texts) -> None:
    limit = texts.cuts[0].limit
    title(console, f"what does not fit {limit:,} tokens (train.max_length) and the context of {texts.context:,}")
    room = f"no room for {texts.max_new_tokens:,} new tokens"
    lines = table("split", "entries", "cut", "tokens cut off", "without a response", room)
    for cut in texts.cuts:
        numbers = (cut.entries, cut.cut_entries, cut.cut_tokens, cut.without_response, cut.no_room)
        lines.add_row(cut.split, *(f"{number:,}" for number in numbers))
    right(lines)
    console.print(lines)


def _show_batchings(console: Console, texts: Texts) -> None:
    title(console, f"batches of {texts.batchings[0].entries:,} entries")
    lines = table("train.batching", "rows", "tokens of a row", "padding")
    for each in texts.batchings:
        lines.add_row(*_batching(each, texts.batching))
    right(lines)
    console.print(lines)


def _batching(each: BatchingPreview, chosen: str) -> Iterator[str]:
    yield f"{each.batching} (chosen)" if each.batching == chosen else each.batching
    yield f"{each.rows:.1f}"
    yield f"{each.width:,.1f}"
    yield f"{each.padding:.1%}"


def _after(found: InstructionCheck) -> dict[str, float]:
    answering = found.answering
    if answering is None:
        return {}
    entries = f"{answering.entries:,} answers"
    return {
        f"{entries} of the model, if as long as the references": answering.seconds,
        f"{entries} of the starting model, none of which ends early": answering.most_seconds,
    }


def _show_judge(console: Console, judge: Judge) -> None:
    title(console, f"judge: {judge.name}, {judge.verdicts:,} verdicts")
    if not judge.is_language_model:
        console.print("It compares texts and needs no server.")
    elif judge.problem:
        console.print(plain(f"It cannot be asked now: {judge.problem}"), style="yellow", soft_wrap=True)
    else:
        console.print(plain(f"It is there, at {judge.server}."))
