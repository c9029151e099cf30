"""The step `respond`: what a language model answers to the entries of a split."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import TypeAdapter

from components.conversations import HISTORY, Entry
from components.core.interruptions import hold_until_published, interruptions_held_back
from components.core.progress import progress_bar
from components.core.records import Facts, fingerprint
from components.core.store import CHECKPOINT
from components.generation.answers import Answer, answer_batches, make_prompts, room_for_prompts
from components.generation.batched import Report, Stopped
from components.generation.config import GenerationConfig
from components.generation.decoder import Weights
from components.models.devices import pick_precision
from components.models.language_model import LanguageModel
from components.models.tokenizer import Tokenizer
from components.prompts import AnyTemplate

JOURNAL = "responses.jsonl"
TABLE, ENTRIES = "responses.parquet", "instruction-data-with-response.json"
SHOWN = (HISTORY, "instruction", "input", "output", "model_response")
"""Fields of an entry in the JSON file, as in chapter 7 of Raschka, "Build a Large Language Model (From Scratch)"; of a
conversation the turns before as well."""
COLUMNS = ("row", "instruction", "input", "output", "task", HISTORY)


class Journal:
    """The answers made so far, by their row's place in the split: a line each, so that no more than a batch is lost.

    The first line says what they are answers to: `identity`, a hash. A file of another identity is begun anew; so is
    nothing of the same one, and of a line that is damaged or only half there no more than that line is lost.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        head = json.dumps({"identity": identity})
        first, *lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
        parsed = map(_parsed, lines if first == head.encode() else ())
        self.answers = dict(each for each in parsed if each)
        path.parent.mkdir(exist_ok=True)
        draft = path.with_suffix(".part")
        _append(draft, "w", f"{head}\n", self.answers)
        draft.replace(path)

    def add(self, answers: Mapping[int, Answer]) -> None:
        """Write a batch of answers, and see it on the disk."""
        with interruptions_held_back():
            _append(self.path, "a", "", answers)
            self.answers |= answers


def _append(path: Path, mode: str, head: str, answers: Mapping[int, Answer]) -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.write(head)
        file.writelines(
            json.dumps({"row": row, **asdict(each)}, ensure_ascii=False) + "\n" for row, each in answers.items()
        )
        file.flush()
        os.fsync(file.fileno())


def _parsed(line: bytes) -> tuple[int, Answer] | None:
    try:
        fields = json.loads(line)
        return fields.pop("row"), TypeAdapter(Answer).validate_python(fields)
    except (ValueError, AttributeError, KeyError, TypeError):
        return None


def respond(
    entries: Path,
    model: LanguageModel,
    encoding: Tokenizer,
    template: AnyTemplate,
    config: GenerationConfig,
    device: torch.device,
    out: Path,
    weights: Weights = "copied",
) -> Facts:
    """Let a language model answer every entry of a split, and write the answers to `out`, in the split's order.

    Writes `responses.parquet` (the split's columns, `model_response`, `new_tokens` without the end-of-text token, and
    why it `stopped`) and `instruction-data-with-response.json`. Same model, entries, seed and machine: same answers.
    Weights that are `taken` are in memory once, and the model has none then (see `Decoder`).

    While it works, what is done stands in `out/checkpoint`, written batch by batch. An interruption or an error leaves
    it there, and the exception's `evidence` says so; where it stands in `out` at the start, the rest is done, and the
    answers are those that would have come without the interruption.
    """
    table = pq.read_table(entries, columns=[name for name in COLUMNS if name in pq.read_schema(entries).names])
    precision = pick_precision(config.precision, device)
    room = room_for_prompts(model.transformer.size, config)
    made = make_prompts(template, encoding, map(Entry.of, table.to_pylist()), room)
    prompts = [prompt.tokens for prompt in made]
    identity = fingerprint([prompts, template.model_dump(), config.model_dump(), device.type, precision])
    journal = Journal(out / CHECKPOINT / JOURNAL, identity)
    with _kept_if_stopped(journal, out), generation_bar(len(prompts), len(journal.answers)) as report:
        batches = answer_batches(
            model.to(device), encoding, template, prompts, config, journal.answers, report, weights=weights
        )
        for batch in batches:
            journal.add(batch)
    hold_until_published()
    answers = [journal.answers[number] for number in range(len(prompts))]
    _write(table, answers, out)
    shutil.rmtree(out / CHECKPOINT)
    counts = Counter(each.stopped for each in answers)
    return {
        "rows": len(answers),
        "stopped": {why: counts[why] for why in get_args(Stopped)},
        "empty": sum(not each.response for each in answers),
        "new_tokens": sum(each.new_tokens for each in answers),
        "cut_conversations": sum(prompt.cut for prompt in made),
        "device": device.type,
        "precision": precision,
    }


def _write(table: pa.Table, answers: Sequence[Answer], out: Path) -> None:
    types = {"response": pa.string(), "new_tokens": pa.int64(), "stopped": pa.string()}
    for name, kind in types.items():
        column = pa.array([getattr(each, name) for each in answers], kind)
        table = table.append_column("model_response" if name == "response" else name, column)
    pq.write_table(table, out / TABLE)
    shown = json.dumps(
        table.select([name for name in SHOWN if name in table.column_names]).to_pylist(), indent=4, ensure_ascii=False
    )
    (out / ENTRIES).write_text(shown + "\n", encoding="utf-8")


@contextmanager
def _kept_if_stopped(journal: Journal, out: Path) -> Iterator[None]:
    """Say on an exception that what was answered so far is left in `out`."""
    try:
        yield
    except BaseException as stopped:  # Ctrl-C, or the process is told to end, or something fails
        if journal.answers:
            hold_until_published()
            stopped.evidence = out  # type: ignore[attr-defined]
        raise


@contextmanager
def generation_bar(rows: int, done: int = 0) -> Iterator[Report]:
    """Show rows, tokens and time left on standard error, if that is a terminal; `done` rows are there already."""
    written = 0
    with progress_bar("respond", rows, "{task.fields[tokens]:,} tokens", done, tokens=0) as update:

        def report(ended: int, tokens: int) -> None:
            nonlocal written
            written += tokens
            update(advance=ended, tokens=written)

        yield report
