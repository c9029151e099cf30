"""`gradus data prepare`: clean a file of examples, deal it, and write it for `gradus run` and for hosted services."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.console import AsJson, Debug, errors_as_lines, print_result, results, say, stop_cleanly
from pipelines.cli.data.options import As, Keys, NewFolder

if TYPE_CHECKING:
    from pipelines.preparing.prepare import Prepared

EXAMPLES = """
[bold]Examples[/bold]\n
gradus data prepare messages.csv --as classification --output messages\n
gradus data prepare entries.json --as instruction -o entries --seed 7 --json\n
gradus data prepare chats.jsonl --as chat -o chats --set hosted.system="Be brief."\n
gradus data prepare old.csv --as classification -o new --set 'source.columns={text: body, label: kind}'
"""


def prepare(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="CSV, TSV, JSON, JSON Lines, Parquet; a path or address.")
    ],
    form: As,
    output: NewFolder,
    overrides: Keys = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the shuffle (split.seed).")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Remove duplicates, shuffle, split, and write chats, prompts with completions, and a preset.

    In the folder: train, validation and test as JSON Lines with `preset.yaml`, which `gradus check` and `gradus run`
    take; `chat/` and `prompt_completion/` for hosted fine-tuning; `left_out.jsonl`, which rows were left out and why;
    `report.json`, what changed. Exit codes: 0 done, 1 failed, 2 bad usage, 3 data rejected.
    """
    with errors_as_lines(debug):
        stop_cleanly()
        from pipelines.preparing.prepare import prepare as prepare_file

        keys = [*(overrides or []), *([f"split.seed={seed}"] if seed is not None else [])]
        found = prepare_file(file, form, keys, output)
        print_result(found, as_json, _show)
        for line in (*found.found, *found.warnings):
            say(f"gradus: {line}", style="yellow")


def _show(found: "Prepared") -> None:
    from rich.table import Table

    console = results()
    kept = sum(found.rows.values())
    console.print(f"{found.rows_in:,} rows in the file, {kept:,} in the splits", highlight=False)
    for reason, count in (found.left_out | found.changed).items():
        if count:
            console.print(f"  {count:,}  {reason}", markup=False)
    table = Table("split", "rows", "also in train", box=None, pad_edge=False)
    for split, rows in found.rows.items():
        twice = found.overlap.get(split)
        table.add_row(split, f"{rows:,}", "" if twice is None else f"{max(twice.values()):,}")
    console.print(table)
    if found.answers:
        _show_labels(found)
    console.print(f"every prompt ends with {found.separator!r}, every completion with {found.stop!r}", markup=False)
    console.print(f"preset  {found.preset}", markup=False, soft_wrap=True)


def _show_labels(found: "Prepared") -> None:
    from rich.table import Table

    table = Table("label", *found.answers, box=None, pad_edge=False)
    for label in found.answers["train"]:
        table.add_row(label, *(f"{counts.get(label, 0):,}" for counts in found.answers.values()))
    results().print(table)
