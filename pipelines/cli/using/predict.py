"""`gradus predict`: ask a model."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.core.errors import ConfigError
from pipelines.cli.console import Debug, FileKeys, Output, errors_as_lines
from pipelines.cli.using.answering import Model, answered, identity_of, load

if TYPE_CHECKING:
    from components.data.partial import Answers

EXAMPLES = """
[bold]Examples[/bold]\n
gradus predict models:/spam-classifier@candidate "You won a prize, call now"\n
gradus predict models:/spam-classifier@champion --file new.csv --output labelled.parquet\n
gradus predict 0a1b2c3d4e5f60718293a4b5c6d7e8f9 --file messages.txt --output labelled.csv\n
gradus predict models:/topics/2 --file new.csv --set source.columns.text=headline --set 'source.delimiter=";"'\n
cut -f2 messages.tsv | gradus predict models:/spam-classifier/3 - --json
"""
NONE = "–"
"""Stands for the label of a text that is none."""


def predict(
    model: Model,
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT...]|-", help="Texts; - reads lines.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="CSV, TSV, JSON, JSON Lines or Parquet, by its name; else a text a line."),
    ] = None,
    output: Output = None,
    overrides: FileKeys = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a text.")] = False,
    debug: Debug = False,
) -> None:
    """Classify texts with a trained model. A language model is asked with `gradus respond` instead.

    A table is read like the one that the model learnt from: its columns, its template, its delimiter and encoding; or a
    column `text`. With `--output` its columns are written with those of the predictions: `label`, `probability`, and
    `p_LABEL` of every label, with `predicted_` before a name that the table has. A row without a text has none.
    A file may be of any size. A call with `--output` that was killed goes on where it was when it is made again.
    """
    with errors_as_lines(debug):
        if file and texts:
            raise ConfigError("give texts or --file, not both")
        if not texts and not file:
            raise ConfigError("there is no text to classify; give TEXT..., --file FILE, or - for standard input")
        import pyarrow as pa

        from components.data.asked import TextSource
        from pipelines.asking import AT_ONCE, STDIN, Asked

        asked = Asked(TextSource, STDIN if texts == ["-"] else file, {"text": texts or []}, overrides or [], output)
        classifier, learnt = load(model)
        from components.models.saved.classifier import LoadedClassifier  # PyTorch, once all words are known to be right

        if not isinstance(classifier, LoadedClassifier):
            raise ConfigError(
                f"{model} is a language model, which has no labels; ask it with `gradus respond {model} INSTRUCTION`"
            )

        def answer(asked: Mapping[str, list[str]], _first: int) -> "Answers":
            return classifier.predict(asked["text"]).to_dict("list")  # type: ignore[return-value]

        numbers = ("probability", *(f"p_{label}" for label in classifier.card.labels))
        kinds = {"label": pa.string(), **dict.fromkeys(numbers, pa.float64())}
        identity = identity_of(classifier) if output else None
        found = answered(asked, learnt, answer, kinds, "no text, and no label", identity, AT_ONCE)
        for place, (rows, answers) in enumerate(found):
            if as_json or output is None:
                _show({"text": rows.texts["text"], **answers}, as_json, header=place == 0)


def _show(columns: Mapping[str, list[Any]], as_json: bool, header: bool) -> None:
    """Print some rows: as JSON Lines, or as a table."""
    if as_json:
        from components.data.answered import as_json as written
        from components.data.answered import rows_of

        sys.stdout.writelines(f"{written(row)}\n" for row in rows_of(columns))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("label", "probability", "text", box=None, pad_edge=False, show_header=header)
    for label, probability, text in zip(columns["label"], columns["probability"], columns["text"], strict=True):
        sure = NONE if probability is None else f"{probability:.3f}"
        table.add_row(Text(label or NONE), sure, Text(text or ""))
    Console().print(table)
