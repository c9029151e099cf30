"""The step `respond`: what a language model answers to the entries of a split."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from components.core.interruptions import hold_until_published
from components.core.records import Facts, fingerprint
from components.core.store import CHECKPOINT
from components.generation.answers import Answer, answer_batches, make_prompts
from components.generation.batched import Stopped
from components.generation.config import GenerationConfig
from components.generation.journal import Journal
from components.generation.progress import generation_bar
from components.models.devices import pick_precision
from components.models.language_model import LanguageModel
from components.models.tokenizer import Tokenizer
from components.prompts import AnyTemplate

JOURNAL = "responses.jsonl"
TABLE, ENTRIES = "responses.parquet", "instruction-data-with-response.json"
SHOWN = ("instruction", "input", "output", "model_response")
"""Fields of an entry in the JSON file, as in chapter 7 of Raschka, "Build a Large Language Model (From Scratch)"."""
COLUMNS = ("row", "instruction", "input", "output", "task")


def respond(
    entries: Path,
    model: LanguageModel,
    encoding: Tokenizer,
    template: AnyTemplate,
    config: GenerationConfig,
    device: torch.device,
    out: Path,
) -> Facts:
    """Let a language model answer every entry of a split, and write the answers to `out`, in the split's order.

    Writes `responses.parquet` (the split's columns, `model_response`, `new_tokens` without the end-of-text token, and
    why it `stopped`) and `instruction-data-with-response.json`. Same model, entries, seed and machine: same answers.

    While it works, what is done stands in `out/checkpoint`, written batch by batch. An interruption or an error leaves
    it there, and the exception's `evidence` says so; where it stands in `out` at the start, the rest is done, and the
    answers are those that would have come without the interruption.
    """
    table = _read(entries)
    precision = pick_precision(config.precision, device)
    prompts = make_prompts(template, encoding, table["instruction"].to_pylist(), table["input"].to_pylist())
    identity = fingerprint([prompts, template.model_dump(), config.model_dump(), device.type, precision])
    journal = Journal(out / CHECKPOINT / JOURNAL, identity)
    with _kept_if_stopped(journal, out), generation_bar(len(prompts), len(journal.answers)) as report:
        for batch in answer_batches(model.to(device), encoding, template, prompts, config, journal.answers, report):
            journal.add(batch)
    hold_until_published()
    answers = [journal.answers[number] for number in range(len(prompts))]
    _write(table, answers, out)
    shutil.rmtree(out / CHECKPOINT)
    return {
        "rows": len(answers),
        "stopped": _counts(answers),
        "empty": sum(not each.response for each in answers),
        "new_tokens": sum(each.new_tokens for each in answers),
        "device": device.type,
        "precision": precision,
    }


def _read(entries: Path) -> pa.Table:
    columns = [name for name in COLUMNS if name in pq.read_schema(entries).names]
    return pq.read_table(entries, columns=columns)


def _write(table: pa.Table, answers: Sequence[Answer], out: Path) -> None:
    responses = pa.array([each.response for each in answers], pa.string())
    table = table.append_column("model_response", responses)
    table = table.append_column("new_tokens", pa.array([each.new_tokens for each in answers], pa.int64()))
    table = table.append_column("stopped", pa.array([each.stopped for each in answers], pa.string()))
    pq.write_table(table, out / TABLE)
    shown = json.dumps(table.select(list(SHOWN)).to_pylist(), indent=4, ensure_ascii=False)
    (out / ENTRIES).write_text(shown + "\n", encoding="utf-8")


def _counts(answers: Sequence[Answer]) -> dict[str, int]:
    counts = Counter(each.stopped for each in answers)
    return {why: counts[why] for why in get_args(Stopped)}


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
