"""What a judge is asked: which responses get verdicts, and in what words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from components.conversations import HISTORY, as_transcript, read_history
from components.core.records import fingerprint
from components.judging.asking import Question
from components.judging.config import JudgeConfig
from components.judging.control import draw_control
from components.judging.identity import verdict_identity
from components.judging.rubric import Rubric, shipped_rubric

Prompt = Callable[..., str]
"""From instruction and input, and the turns before them if there are such, to the task as the judge is shown it."""

REFERENCE = "reference"
OTHER = "other"
"""Whose another row's reference is."""


@dataclass(frozen=True)
class Judged:
    """A response that gets verdicts: whose (`model`, `start`, `reference` or `other`), and what it answers."""

    of: str
    row: int
    instruction: str
    input: str
    reference: str
    response: str
    history: str | None = None
    """The turns before it."""
    other_row: int | None = None
    """Whose reference the response is, where it is another row's."""


def read_judged(responses: Mapping[str, Path], also: Sequence[str]) -> Iterator[Judged]:
    """Yield the responses in tables, by whose they are; with the references, where `also` names them."""
    tables = {of: _rows(path, "model_response") for of, path in responses.items() if of == "model" or of in also}
    references = _judged_references(tables["model"]) if REFERENCE in also else {}
    for of, rows in (tables | references).items():
        yield from _judged(of, rows)


def read_references(table: Path) -> Iterator[Judged]:
    """Yield the references of a table of entries, and on some rows those of others, as they will be judged."""
    for of, rows in _judged_references(_rows(table)).items():
        yield from _judged(of, rows)


def _rows(path: Path, *more: str) -> list[dict[str, Any]]:
    columns = ["row", "instruction", "input", "output", *more]
    rows: list[dict[str, Any]] = pq.read_table(
        path, columns=[*columns, *({HISTORY} & {*pq.read_schema(path).names})]
    ).to_pylist()
    return rows


def _judged_references(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    others = [
        rows[place] | {"model_response": rows[other]["output"], "other_row": rows[other]["row"]}
        for place, other in draw_control([row["output"] for row in rows])
    ]
    return {REFERENCE: [row | {"model_response": row["output"]} for row in rows], OTHER: others}


def _judged(of: str, rows: list[dict[str, Any]]) -> Iterator[Judged]:
    for row in rows:
        asked = (row["row"], row["instruction"], row["input"] or "", row["output"], row["model_response"] or "")
        yield Judged(of, *asked, row.get(HISTORY), row.get("other_row"))


def questions_about(
    judged: Sequence[Judged], config: JudgeConfig, prompt: Prompt | None, digest: str | None
) -> list[list[Question]]:
    """Return what is asked about each response, once a repeat. The same words about the same task are one question."""
    judge, rubric = fingerprint(verdict_identity(config, digest)), shipped_rubric()
    found = []
    for each in judged:
        task = task_of(each.instruction, each.input, each.history, prompt)
        text = rubric.question(task | {"reference": each.reference, "response": each.response})
        found.append(repeated(text, config, judge))
    return found


def task_of(instruction: str, input: str, history: str | None, prompt: Prompt | None) -> dict[str, str]:
    """Return a task as a judge is shown it: as such, or what `prompt` makes of it."""
    before = read_history(history)
    if prompt:
        return {"task": prompt(instruction, input, *([before] if before else []))}
    return {"instruction": instruction, "input": input} | ({"history": as_transcript(before)} if before else {})


def repeated(text: str, config: JudgeConfig, judge: str) -> list[Question]:
    """Return a question once a repeat, each with a seed of its own; `judge` stands for the judge in their keys."""
    repeats = range(config.repeats)
    return [Question(fingerprint([judge, text, repeat]), text, config.seed + repeat) for repeat in repeats]


def frame(measure: Callable[[bytes], int], rubric: Rubric, again: bool = False) -> int:
    """Return how much of something the messages around a question have."""
    return sum(measure(message["content"].encode()) for message in rubric.messages("", again))
