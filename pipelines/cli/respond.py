"""`gradus respond`: give instructions to a fine-tuned language model."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from components.errors import ConfigError
from pipelines.cli.console import Debug, errors_as_lines, say, set_defaults
from pipelines.cli.generate import generation_config, harmless, pick

if TYPE_CHECKING:
    import pandas as pd

    from components.serving.language_model import Responder

EXAMPLES = """
[bold]Examples[/bold]\n
gradus respond models:/instruction-follower@candidate "Name the capital of France."\n
gradus respond 0a1b2c3d4e5f60718293a4b5c6d7e8f9 "Write the plural." --input "mouse"\n
gradus respond models:/instruction-follower/3 --file entries.json --json > answers.jsonl
"""


def respond(
    model: Annotated[str, typer.Argument(help="A run id, a models:/ or runs:/ URI, or a folder.")],
    instruction: Annotated[str | None, typer.Argument(help="What to do.")] = None,
    input: Annotated[str, typer.Option("--input", "-i", help="What the instruction applies to.")] = "",
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Entries with instruction and input, as JSON or JSON Lines.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object an entry.")] = False,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens of a response.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token, above 0 tokens are drawn.")] = 0.0,
    top_k: Annotated[int | None, typer.Option(help="Draw from the k likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from the fewest tokens of this probability.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 123,
    batch_size: Annotated[int, typer.Option(help="Most entries that are answered at once.")] = 128,
    precision: Annotated[Literal["auto", "fp32", "bf16"], typer.Option(help="Numbers to compute with.")] = "auto",
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to compute.")] = "auto",
    debug: Debug = False,
) -> None:
    """Let a fine-tuned language model follow instructions, in the prompt that it was trained with.

    A classifier is asked with `gradus predict`; a text is continued with `gradus generate`.
    """
    with errors_as_lines(debug):
        entries = _entries(instruction, input, file)
        config = generation_config(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            batch_size=batch_size,
            precision=precision,
        )
        responder = _load(model, str(pick(device)))
        from components.generation.progress import generation_bar

        with generation_bar(len(entries)) as report:
            answers = responder.respond(*_columns(entries), config, report)
        _show(entries, answers, as_json, alone=file is None)
        _say_what_is_short(answers, responder.card.size.context)


def _load(model: str, device: str) -> "Responder":
    set_defaults()
    from components.home import home
    from components.model.saved import LoadedClassifier
    from components.serving.load import load_model
    from components.tracking.registry import resolve_model
    from components.tracking.stores import tracking_uri

    loaded = load_model(resolve_model(model, home()), tracking_uri(home()), device)
    if isinstance(loaded, LoadedClassifier):
        raise ConfigError(f"{model} is a classifier, which writes no text; ask it with `gradus predict {model} TEXT`")
    return loaded


def _entries(instruction: str | None, text: str, file: Path | None) -> list[dict[str, str]]:
    if file and (instruction is not None or text):
        raise ConfigError("give an instruction or --file, not both")
    if file:
        return [_entry(file, place, found) for place, found in _read(file)]
    if instruction is None:
        raise ConfigError("there is no instruction; give INSTRUCTION, or --file FILE")
    return [{"instruction": instruction, "input": text}]


def _read(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield what a file holds, and where: a JSON list, or an object a line."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8: byte {error.start} cannot be read; convert it first") from error
    if text.lstrip().startswith("["):
        for number, found in enumerate(_parse(file, text, 1), start=1):
            yield f"entry {number}", found
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number}", _parse(file, line, number)


def _parse(file: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {line + error.lineno - 1}, column {error.colno}"
        raise ConfigError(
            f"{file} is not JSON: {where}: {error.msg}; write one list of objects, or an object a line"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{file} is nested too deeply; write one list of objects, or an object a line") from error


def _entry(file: Path, place: str, found: Any) -> dict[str, str]:
    """Return instruction and input of an entry; what else it holds is left out."""
    given = found if isinstance(found, dict) else {}
    instruction, text = given.get("instruction"), given.get("input")
    if not isinstance(instruction, str) or not isinstance(text, str | None):
        raise ConfigError(
            f'{file}: {place} is no {{"instruction": TEXT, "input": TEXT}}; the input may be empty or left out'
        )
    return {"instruction": instruction, "input": text or ""}


def _columns(entries: list[dict[str, str]]) -> tuple[list[str], list[str]]:
    return [entry["instruction"] for entry in entries], [entry["input"] for entry in entries]


def _show(entries: list[dict[str, str]], answers: "pd.DataFrame", as_json: bool, alone: bool) -> None:
    """Print the responses: alone, under their entries, or as JSON Lines."""
    shown = harmless if sys.stdout.isatty() and not as_json else str
    for entry, answer in zip(entries, answers.to_dict("records"), strict=True):
        if as_json:
            typer.echo(json.dumps({**entry, **answer}, ensure_ascii=False))
        elif alone:
            typer.echo(shown(answer["response"]))
        else:
            asked = "\n".join(f"> {line}" for text in entry.values() if text for line in text.split("\n"))
            typer.echo(shown(f"{asked}\n{answer['response']}\n"))


def _say_what_is_short(answers: "pd.DataFrame", context: int) -> None:
    counts = answers["stopped"].value_counts()
    if rooms := counts.get("no_room", 0):
        say(f"gradus: no response to {rooms} of {len(answers)}: the prompt alone fills the context of {context} tokens")
    if cut := counts.get("length", 0):
        say(f"gradus: {cut} of {len(answers)} ended at --max-new-tokens or the end of the context of {context} tokens")
