"""`gradus respond`: give instructions to a fine-tuned language model."""

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from components.core.errors import ConfigError
from pipelines.cli.console import Debug, FileKeys, Output, errors_as_lines, say, set_defaults
from pipelines.cli.generate import generation_config, harmless, pick

if TYPE_CHECKING:
    from components.generation.config import GenerationConfig
    from components.serving.language_model import Responder
    from pipelines.asking import Answers, Asked

EXAMPLES = """
[bold]Examples[/bold]\n
gradus respond models:/instruction-follower@candidate "Name the capital of France."\n
gradus respond 0a1b2c3d4e5f60718293a4b5c6d7e8f9 "Write the plural." --input "mouse"\n
gradus respond models:/instruction-follower/3 --file entries.json --json > answers.jsonl\n
gradus respond models:/instruction-follower@champion --file questions.csv --output answered.parquet\n
gradus respond models:/instruction-follower/3 --file questions.csv --set source.columns.instruction=question
"""


def respond(
    model: Annotated[str, typer.Argument(help="A run id, a models:/ or runs:/ URI, or a folder.")],
    instruction: Annotated[str | None, typer.Argument(help="What to do.")] = None,
    input: Annotated[str, typer.Option("--input", "-i", help="What the instruction applies to.")] = "",
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", help="CSV, TSV, JSON, JSON Lines or Parquet, by its name; or an instruction a line."
        ),
    ] = None,
    output: Output = None,
    overrides: FileKeys = None,
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

    A table is read like the one that the model learnt from: its columns, its templates, its delimiter and encoding; or
    columns `instruction` and `input`. With `--output` its columns are written with `response`, `new_tokens`, and why it
    `stopped`, with `predicted_` before a name that the table has. A row without an instruction has no response.
    A classifier is asked with `gradus predict`; a text is continued with `gradus generate`.
    """
    with errors_as_lines(debug):
        asked = _asked(instruction, input, file, overrides or [], output)
        config = generation_config(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            batch_size=batch_size,
            precision=precision,
        )
        responder, learnt = _load(model, str(pick(device)))
        ends: Counter[str | None] = Counter()
        for rows, answers in asked.answers(learnt, _Answerer(responder, config), _kinds()):
            ends.update(answers["stopped"])
            if as_json or output is None:
                _show(rows.texts, answers, as_json, alone=file is None)
        for note in asked.seen.notes:
            say(f"gradus: {note}", style="yellow")
        _say_what_is_short(ends, responder.card.size.context)
        if output:
            say(f"gradus: {ends.total():,} rows in {output}")


def _load(model: str, device: str) -> "tuple[Responder, dict[str, Any] | None]":
    set_defaults()
    from components.core.home import home
    from components.models.saved.classifier import LoadedClassifier
    from components.serving.load import load_with_reading
    from components.tracking.registry.finding import resolve_model
    from components.tracking.stores import tracking_uri

    loaded, learnt = load_with_reading(resolve_model(model, home()), tracking_uri(home()), device)
    if isinstance(loaded, LoadedClassifier):
        raise ConfigError(f"{model} is a classifier, which writes no text; ask it with `gradus predict {model} TEXT`")
    return loaded, learnt


def _asked(instruction: str | None, text: str, file: Path | None, overrides: list[str], output: Path | None) -> "Asked":
    if file and (instruction is not None or text):
        raise ConfigError("give an instruction or --file, not both")
    if file is None and instruction is None:
        raise ConfigError("there is no instruction; give INSTRUCTION, or --file FILE")
    from components.data.asked import PromptSource
    from pipelines.asking import Asked

    return Asked(PromptSource, file, {"instruction": [instruction or ""], "input": [text]}, overrides, output)


class _Answerer:
    """Answers some rows after the other, as if they were asked at once."""

    def __init__(self, responder: "Responder", config: "GenerationConfig") -> None:
        self.responder, self.config, self.done = responder, config, 0

    def __call__(self, asked: Mapping[str, list[str]]) -> "Answers":
        from components.generation.progress import generation_bar

        instructions = asked["instruction"]
        inputs = asked.get("input") or [""] * len(instructions)
        with generation_bar(len(instructions)) as report:
            frame = self.responder.respond(instructions, inputs, self.config, report, self.done)
        self.done += len(instructions)
        return {name: frame[name].tolist() for name in frame.columns}


def _kinds() -> dict[str, Any]:
    import pyarrow as pa

    return {"response": pa.string(), "new_tokens": pa.int64(), "stopped": pa.string()}


def _show(texts: Mapping[str, list[str | None]], answers: "Answers", as_json: bool, alone: bool) -> None:
    """Print the responses: alone, under their entries, or as JSON Lines."""
    from components.data.answered import as_json as written
    from components.data.answered import rows_of

    shown = harmless if sys.stdout.isatty() and not as_json else str
    for entry, answer in zip(rows_of(texts), rows_of(answers), strict=True):
        if as_json:
            typer.echo(written({**entry, **answer}))
        elif alone:
            typer.echo(shown(str(answer["response"] or "")))
        else:
            asked = "\n".join(f"> {line}" for text in entry.values() if text for line in str(text).split("\n"))
            typer.echo(shown(f"{asked}\n{answer['response'] or ''}\n"))


def _say_what_is_short(ends: "Counter[str | None]", context: int) -> None:
    rows = ends.total()
    if empty := ends[None]:
        say(f"gradus: {empty:,} of {rows:,} have no instruction, and no response")
    if rooms := ends["no_room"]:
        say(f"gradus: no response to {rooms} of {rows}: the prompt alone fills the context of {context} tokens")
    if cut := ends["length"]:
        say(f"gradus: {cut} of {rows} ended at --max-new-tokens or the end of the context of {context} tokens")
