"""Prompts of conversations as tokens: what the assistant said in them, and by how many turns they are cut to fit."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from components.conversations import Entry, is_learnt
from components.models.tokenizer import Tokenizer, encode_prompts, encode_turns
from components.prompts import AnyTemplate


@dataclass(frozen=True)
class Prompt:
    """The tokens of an entry up to its response."""

    tokens: list[int]
    said: list[bool]
    """Which of them the assistant said before, or ended its turns with, and are learnt; empty if that was not asked."""
    turns: int
    """How many turns there are, with the response, and without a system message."""
    cut: bool
    """Whether the first turns are not among them, since there was no room."""


def encode_fitting(
    encoding: Tokenizer,
    template: AnyTemplate,
    entries: Iterable[Entry],
    rooms: Iterable[int | None],
    *,
    with_said: bool = False,
) -> Iterator[Prompt]:
    """Yield the prompt of each entry, cut from the front by whole turns to so many tokens, as far as that can be.

    Raises:
        ConfigError: if the template cannot write it, or, `with_said`, does not let the assistant's turns be told apart.
    """
    encode = partial(encode_turns if with_said else _in_one, encoding, template)
    for entry, room in zip(entries, rooms, strict=False):  # of rooms there may be no end
        yield _fitted(entry, room, encode)


def _fitted(entry: Entry, room: int | None, encode: Callable[[Entry], list[list[int]]]) -> Prompt:
    tried: dict[int, list[list[int]]] = {}

    def parts(some: Entry) -> list[list[int]]:
        turns = len(some.history)
        if turns not in tried:
            tried[turns] = encode(some)
        return tried[turns]

    shorter = entry if room is None else entry.shortened(lambda some: sum(map(len, parts(some))) <= room)
    found = parts(shorter)
    answers = [is_learnt(turn) for turn in shorter.history if turn["role"] == "assistant"]
    # Every second part is the assistant's, if they were told apart.
    learnt = [said for answer in answers for said in (False, answer)] + [False]
    said = [mark for part, mark in zip(found, learnt, strict=True) for _ in part] if len(found) > 1 else []
    return Prompt([token for part in found for token in part], said, 2 * len(answers) + 2, shorter is not entry)


def _in_one(encoding: Tokenizer, template: AnyTemplate, entry: Entry) -> list[list[int]]:
    return encode_prompts(encoding, template, [entry])
