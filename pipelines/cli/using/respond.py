"""`gradus respond`: give instructions to a fine-tuned language model."""

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from components.core.errors import ConfigError
from pipelines.cli.console import Debug, FileKeys, Output, errors_as_lines, results, say
from pipelines.cli.using import answering
from pipelines.cli.using.chat import talk

if TYPE_CHECKING:
    from components.data.partial import Answers
    from components.generation.config import GenerationConfig
    from components.serving.language_model import Responder
    from pipelines.asking import Answer

EXAMPLES = """
[bold]Examples[/bold]\n
gradus respond models:/instruction-follower@candidate "Name the capital of France."\n
gradus respond 0a1b2c3d4e5f60718293a4b5c6d7e8f9 "Write the plural." --input "mouse"\n
gradus respond models:/instruction-follower/3 --file entries.json --json > answers.jsonl\n
gradus respond models:/instruction-follower@champion --file questions.csv --output answered.parquet\n
gradus respond models:/instruction-follower/3 --file questions.csv --set source.columns.instruction=question\n
gradus respond models:/instruction-follower@champion --chat --system "Answer in one sentence."\n
gradus respond models:/instruction-follower@champion "Name a colour." --beside models:/instruction-follower/1
"""
AT_ONCE = 128
"""Rows of a file that are answered before they are kept, or as many as make a batch, if that is more."""


def respond(
    model: answering.Model,
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
    chat: Annotated[bool, typer.Option("--chat", help="Talk over several turns, a line each.")] = False,
    system: Annotated[str | None, typer.Option(help="With --chat: a system message.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object an entry.")] = False,
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens of a response.")] = 256,
    temperature: answering.Temperature = 0.0,
    top_k: answering.TopK = None,
    top_p: answering.TopP = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 123,
    batch_size: Annotated[int, typer.Option(help="Most entries that are answered at once.")] = 128,
    precision: answering.Precision = "auto",
    device: answering.Device = "auto",
    beside: Annotated[str | None, typer.Option(help="Another MODEL, whose responses are shown beside.")] = None,
    debug: Debug = False,
) -> None:
    """Let a fine-tuned language model follow instructions, in the prompt that it was trained with.

    A table is read like the one that the model learnt from: its columns, its templates, its delimiter and encoding; or
    columns `instruction` and `input`. With `--output` its columns are written with `response`, `new_tokens`, and why it
    `stopped`, with `predicted_` before a name that the table has. A row without an instruction has no response.
    A file may be of any size. A call with `--output` that was killed goes on where it was when it is made again.
    `--beside` prints what two models say, such as a fine-tuned one and the untouched one that it started from, which is
    asked by its own chat template.
    With `--chat` each line of the terminal, or of a pipe, is a turn, and the model sees what was said before; /reset
    begins anew, and /exit, a blank line or the end of the input ends.
    A classifier is asked with `gradus predict`; a text is continued with `gradus generate`.
    """
    with errors_as_lines(debug):
        _refuse_what_does_not_go_together(instruction, input, file, output, chat, system, as_json, beside)
        import pyarrow as pa

        from components.data.asked import PromptSource
        from pipelines.asking import Asked

        typed = {"instruction": [instruction or ""], "input": [input]}
        asked = Asked(PromptSource, file, typed, overrides or [], output)
        config = answering.generation_config(
            max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed,
            batch_size=batch_size, precision=precision,
        )  # fmt: skip
        responder, learnt = _load(model, str(answering.pick(device)))
        if chat:
            talk(responder, config, system)
            return
        other = _load(beside, str(answering.pick(device)))[0] if beside else None
        ends: Counter[str | None] = Counter()
        kinds = {"response": pa.string(), "new_tokens": pa.int64(), "stopped": pa.string()}
        answer = _answerer(responder, config)
        identity = answering.identity_of(responder, config.model_dump(mode="json"), device) if output else None
        lack, at_once = "no instruction, and no response", max(batch_size, AT_ONCE)
        for found, answers in answering.answered(asked, learnt, answer, kinds, lack, identity, at_once):
            ends.update(answers["stopped"])
            if other:
                texts = {field: [text or "" for text in column] for field, column in found.texts.items()}
                _show_beside(texts, (str(beside), _answerer(other, config)(texts, 0)), (model, answers))
            elif as_json or output is None:
                _show(found.texts, answers, as_json, alone=file is None)
        rows, context = ends.total(), responder.card.size.context
        if rooms := ends["no_room"]:
            say(f"gradus: no response to {rooms} of {rows}: the prompt alone fills the context of {context} tokens")
        if cut := ends["length"]:
            say(f"gradus: {cut} of {rows} ended at --max-new-tokens or the end of the context of {context} tokens")


def _refuse_what_does_not_go_together(
    instruction: str | None,
    input: str,
    file: Path | None,
    output: Path | None,
    chat: bool,
    system: str | None,
    as_json: bool,
    beside: str | None,
) -> None:
    one_by_one = (file, instruction, input or None, output, as_json or None, beside)
    if chat and any(given is not None for given in one_by_one):
        raise ConfigError("--chat reads what is asked line by line: leave INSTRUCTION and other inputs and outputs out")
    if system is not None and not chat:
        raise ConfigError("--system is for --chat; a single response is asked in the words of training")
    if file and (instruction is not None or input):
        raise ConfigError("give an instruction or --file, not both")
    if beside and (as_json or output):
        raise ConfigError("--beside prints a table to be read; leave --json and --output out")
    if file is None and instruction is None and not chat:
        raise ConfigError("there is no instruction; give INSTRUCTION, --file FILE, or --chat")


def _load(model: str, device: str) -> "tuple[Responder, dict[str, Any] | None]":
    """Return a language model, and how the file that it learnt from was read."""
    responder, learnt = answering.load(model, device)
    if hasattr(responder, "respond"):
        return responder, learnt
    from components.generation.loading import classifier_refused

    raise classifier_refused(model)


def _answerer(responder: "Responder", config: "GenerationConfig") -> "Answer":
    """Return what answers some rows after the other, as if they were asked at once."""
    from components.conversations import HISTORY, read_history
    from components.generation.responses import generation_bar

    def answer(asked: Mapping[str, list[str]], first: int) -> "Answers":
        instructions = asked["instruction"]
        histories = [read_history(text) for text in asked[HISTORY]] if HISTORY in asked else None
        with generation_bar(len(instructions)) as report:
            frame = responder.respond(instructions, asked.get("input"), config, report, first, histories)
        return frame.to_dict("list")  # type: ignore[return-value]

    return answer


def _show(texts: Mapping[str, list[str | None]], answers: "Answers", as_json: bool, alone: bool) -> None:
    """Print the responses: alone, under their entries, or as JSON Lines."""
    from components.data.answered import as_json as written
    from components.data.answered import rows_of
    from pipelines.shown import harmless

    shown = harmless if sys.stdout.isatty() and not as_json else str
    for entry, answer in zip(rows_of(texts), rows_of(answers), strict=True):
        if as_json:
            typer.echo(written({**entry, **answer}))
        elif alone:
            typer.echo(shown(str(answer["response"] or "")))
        else:
            asked = "\n".join(f"> {line}" for text in entry.values() if text for line in str(text).split("\n"))
            typer.echo(shown(f"{asked}\n{answer['response'] or ''}\n"))


def _show_beside(texts: Mapping[str, list[str]], *answered: "tuple[str, Answers]") -> None:
    """Print a table: an entry a row, and what each model, by its name, responds."""
    from rich.table import Table
    from rich.text import Text

    from components.data.answered import rows_of
    from pipelines.shown import harmless

    table = Table("asked", *(model for model, _ in answered), show_lines=True)
    responses = zip(*(answers["response"] for _, answers in answered), strict=True)
    for entry, row in zip(rows_of(texts), responses, strict=True):
        asked = "\n".join(str(text) for text in entry.values() if text)
        table.add_row(*(Text(harmless(str(text or ""))) for text in (asked, *row)))
    results().print(table)
