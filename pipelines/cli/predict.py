"""`gradus predict`: ask a model."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from components.errors import ConfigError
from pipelines.cli.console import Debug, errors_as_lines, set_defaults

EXAMPLES = """
[bold]Examples[/bold]\n
gradus predict models:/spam-classifier@candidate "You won a prize, call now"\n
gradus predict 0a1b2c3d4e5f60718293a4b5c6d7e8f9 --file messages.txt\n
cut -f2 messages.tsv | gradus predict models:/spam-classifier/3 - --json
"""


def predict(
    model: Annotated[str, typer.Argument(help="A run id, a models:/ or runs:/ URI, or a folder.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT...]|-", help="Texts; - reads lines.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read texts from a file, one a line.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a text.")] = False,
    debug: Debug = False,
) -> None:
    """Classify texts with a trained model. A language model is asked with `gradus respond` instead."""
    with errors_as_lines(debug):
        rows = _read_texts(texts or [], file)
        set_defaults()
        from components.home import home
        from components.model.saved_gpt import LoadedGPT
        from components.serving.load import load_model
        from components.tracking.registry import resolve_model
        from components.tracking.stores import tracking_uri

        classifier = load_model(resolve_model(model, home()), tracking_uri(home()))
        if isinstance(classifier, LoadedGPT):
            raise ConfigError(
                f"{model} is a language model, which has no labels; ask it with `gradus respond {model} INSTRUCTION`"
            )
        frame = classifier.predict(rows)
        frame.insert(0, "text", rows)
        if as_json:
            typer.echo(frame.to_json(orient="records", lines=True, force_ascii=False), nl=False)
            return
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("label", "probability", "text", box=None, pad_edge=False)
        for row in frame.itertuples():
            table.add_row(Text(str(row.label)), f"{row.probability:.3f}", Text(str(row.text)))
        Console().print(table)


def _read_texts(texts: list[str], file: Path | None) -> list[str]:
    if file and texts:
        raise ConfigError("give texts or --file, not both")
    if texts == ["-"]:
        return _lines(sys.stdin.buffer.read(), "standard input")
    if file:
        try:
            return _lines(file.read_bytes(), str(file))
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    if not texts:
        raise ConfigError("there is no text to classify; give TEXT..., --file FILE, or - for standard input")
    return texts


def _lines(raw: bytes, name: str) -> list[str]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8: byte {error.start} cannot be read; convert it first") from error
    # Not `splitlines`, which also cuts at form feeds and Unicode's line separators.
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
