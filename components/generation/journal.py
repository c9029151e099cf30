"""Answers on disk while they are made, a line each, so that an interruption loses one batch at most."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from components.core.interruptions import interruptions_held_back
from components.generation.answers import Answer
from components.generation.batched import Stopped


class Journal:
    """The answers made so far, by their row's place in the split.

    The first line says what they are answers to: `identity`, a hash. A file of another identity is begun anew; so is
    nothing of the same one, and of a line that is damaged or only half there no more than that line is lost.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        head = json.dumps({"identity": identity})
        self.answers = _read(path, head)
        path.parent.mkdir(exist_ok=True)
        draft = path.with_suffix(".part")
        _write(draft, "w", "".join([head + "\n", *_lines(self.answers)]))
        draft.replace(path)

    def add(self, answers: Mapping[int, Answer]) -> None:
        """Write a batch of answers, and see it on the disk."""
        with interruptions_held_back():
            _write(self.path, "a", "".join(_lines(answers)))
            self.answers |= answers


def _write(path: Path, mode: str, text: str) -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _lines(answers: Mapping[int, Answer]) -> list[str]:
    return [json.dumps({"row": row, **asdict(each)}, ensure_ascii=False) + "\n" for row, each in answers.items()]


def _read(path: Path, head: str) -> dict[int, Answer]:
    """Return the answers in a file that begins with this line."""
    if not path.is_file():
        return {}
    first, *lines = path.read_bytes().split(b"\n")
    if first != head.encode():
        return {}
    return dict(answer for line in lines if (answer := _parsed(line)))


def _parsed(line: bytes) -> tuple[int, Answer] | None:
    try:
        fields = json.loads(line)
        row, answer = fields.pop("row"), Answer(**fields)
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
    whole = isinstance(row, int) and isinstance(answer.response, str) and isinstance(answer.new_tokens, int)
    return (row, answer) if whole and answer.stopped in get_args(Stopped) else None
