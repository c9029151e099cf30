"""Compose the sample messages of the preset `spam-demo`: `python -m components.data.samples.make_spam`.

The sentence skeletons stand in `ham.txt` and `spam.txt`, what fills them in `slots.txt`. Both classes share openers,
names, firms, link shapes and topics (real and faked delivery notices, real and faked new numbers), so that no single
word gives a message away. All is drawn from one seed; only `Random.random` is used, the one method whose sequence
Python promises to keep between versions.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

HERE = Path(__file__).parent
SEED = 2026
Value = TypeVar("Value")
LABELS = ("ham", "spam")
SKELETON_CAP = 20
"""Most rows in which the same `GRAM` words may stand in a row, duplicates and dirty rows included."""
GRAM = 3
ATTEMPTS = 60
EXACT_DUPLICATES = 40
NEAR_DUPLICATES = 30
LONG_TEXT = 500
"""Characters that the over-long rows exceed."""

SHORTHAND = {
    "you": "u", "are": "r", "your": "ur", "tomorrow": "tmrw", "please": "pls", "before": "b4", "thanks": "thx",
    "because": "cos", "tonight": "2nite", "people": "ppl", "message": "msg", "and": "n", "with": "w", "going": "goin",
    "for": "4", "about": "abt", "something": "smth", "back": "bk", "text": "txt", "week": "wk", "number": "no",
}  # fmt: skip
OPTION = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"<([a-z0-9-]+)>")
GREETING = re.compile(r"(hi|hey|hello|sorry|congrat|well|happy|thank|mum|dad|nan|urgent|[^.,?!]{1,30}:)", re.IGNORECASE)
"""A message that begins like this needs no opener."""
RANGE = re.compile(r"(\d+)-(\d+)")


@dataclass(frozen=True)
class Skeleton:
    """A sentence pattern: its place in the grammar, its label and style, and how many rows it may give."""

    number: int
    label: str
    style: str
    rows: int
    pattern: str


@dataclass(frozen=True)
class Message:
    """A row of the sample; `skeletons` are the numbers of the patterns it was made from (none: a dirty row)."""

    label: str
    text: str
    skeletons: tuple[int, ...] = ()


def read_slots() -> dict[str, list[str]]:
    """Return the fillers of every slot; an empty string where the file says `~`."""
    slots: dict[str, list[str]] = {}
    fillers: list[str] = []
    for line in content_lines("slots.txt"):
        if line.startswith("== "):
            fillers = slots.setdefault(line.removeprefix("== "), [])
        else:
            fillers.append("" if line == "~" else line)
    return slots


def read_skeletons() -> list[Skeleton]:
    """Return the skeletons of both classes, numbered in the order of the files."""
    skeletons: list[Skeleton] = []
    for label in LABELS:
        rows, style = 0, "plain"
        for line in content_lines(f"{label}.txt"):
            if line.startswith("== "):
                _, quota, style = line.removeprefix("== ").split()
                rows = int(quota)
            else:
                skeletons.append(Skeleton(len(skeletons), label, style, rows, line))
    return skeletons


def content_lines(name: str) -> Iterable[str]:
    """Yield the lines of a grammar file that are neither blank nor comments."""
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


def pick(rng: Random, values: Sequence[str]) -> str:
    """Return one of `values`, drawn by `Random.random`."""
    return values[int(rng.random() * len(values))]


def shuffled(rng: Random, values: Iterable[Value]) -> list[Value]:
    """Return `values` in an order drawn by `Random.random`."""
    drawn = [(rng.random(), value) for value in values]
    return [value for _, value in sorted(drawn, key=lambda pair: pair[0])]


def expand(rng: Random, pattern: str, slots: dict[str, list[str]]) -> str:
    """Choose among a pattern's options and fill its slots, until neither is left."""
    while match := OPTION.search(pattern):
        pattern = pattern[: match.start()] + pick(rng, match[1].split("|")) + pattern[match.end() :]
    while match := SLOT.search(pattern):
        pattern = pattern[: match.start()] + fill(rng, match[1], slots) + pattern[match.end() :]
    return pattern


def fill(rng: Random, slot: str, slots: dict[str, list[str]]) -> str:
    """Return a number for `2-9`, which is a range with both ends, or one of a named slot's fillers."""
    if span := RANGE.fullmatch(slot):
        low, high = int(span[1]), int(span[2])
        return str(low + int(rng.random() * (high - low + 1))).zfill(len(span[1]))
    return pick(rng, slots[slot])


def compose(rng: Random, skeleton: Skeleton, slots: dict[str, list[str]]) -> str:
    """Return one message: opener, sentence and closer of the skeleton's style, written as a hurried thumb would."""
    body = tidy(expand(rng, skeleton.pattern, slots))
    if skeleton.style == "plain":
        return roughen(rng, body)
    opener, closer = (expand(rng, pick(rng, slots[f"{skeleton.style}-{end}"]), slots) for end in ("open", "close"))
    if GREETING.match(body):
        opener = ""
    if not opener.endswith(",") and rng.random() < 0.7:
        body = body[:1].upper() + body[1:]
    if closer and body[-1] not in ".?!" and rng.random() < 0.7:
        body += "."
    text = " ".join(part for part in (opener, body, closer) if part)
    if skeleton.style == "friendly":
        return roughen(rng, text)
    return mistype(rng, text) if rng.random() < 0.05 else text


def tidy(text: str) -> str:
    """Return `text` without what options chosen apart can leave behind: two stops in a row, "on tomorrow"."""
    return re.sub(r"([.?!]),", r"\1", text).replace("on tomorrow", "tomorrow")


def roughen(rng: Random, text: str) -> str:
    """Return `text` as friends type: now and then in lower case, with shorthand, slips or without punctuation."""
    if rng.random() < 0.35:
        text = text.lower()
    if rng.random() < 0.3:
        text = " ".join(SHORTHAND.get(word, word) if rng.random() < 0.7 else word for word in text.split(" "))
    if rng.random() < 0.1:
        text = mistype(rng, text)
    if rng.random() < 0.12:
        text = re.sub(r"[,'](?!\d)", "", text)
    return text


def mistype(rng: Random, text: str) -> str:
    """Return `text` with two neighbouring letters of one longer word swapped; addresses are left alone."""
    words = text.split(" ")
    at = int(rng.random() * len(words))
    word = words[at]
    if len(word) > 4 and word.isalpha():
        i = 1 + int(rng.random() * (len(word) - 2))
        words[at] = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    return " ".join(words)


def fold(text: str) -> str:
    """Return what makes two texts the same message: case, white space and digits do not count."""
    return re.sub(r"[\s\d]", "", text.casefold())


def grams(text: str) -> set[str]:
    """Return the runs of `GRAM` words of a text, numbers left out."""
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text.casefold())
    return {" ".join(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)}


def distinct_messages(rng: Random) -> list[Message]:
    """Return messages that stay distinct after folding, in rounds of one row a skeleton.

    A draft is thrown away when it repeats a message, or a run of words that `SKELETON_CAP` rows hold already.
    """
    slots, skeletons = read_slots(), read_skeletons()
    seen: set[str] = set()
    held: Counter[str] = Counter()
    messages: list[Message] = []
    for turn in range(max(skeleton.rows for skeleton in skeletons)):
        for skeleton in skeletons:
            text = draft(rng, skeleton, slots, seen, held) if turn < skeleton.rows else None
            if text is not None:
                messages.append(Message(skeleton.label, text, (skeleton.number,)))
    return messages


def draft(
    rng: Random, skeleton: Skeleton, slots: dict[str, list[str]], seen: set[str], held: Counter[str]
) -> str | None:
    """Return a message that `seen` and `held` admit and enter it there, or None after `ATTEMPTS` failures."""
    # Room is left below the cap for the duplicates and the over-long rows, which repeat messages.
    room = SKELETON_CAP - 4
    for _ in range(ATTEMPTS):
        text = compose(rng, skeleton, slots)
        # Stricter than `fold`: punctuation does not make a message distinct here.
        key = re.sub(r"\W", "", fold(text))
        if key not in seen and all(held[gram] < room for gram in grams(text)):
            seen.add(key)
            held.update(grams(text))
            return text
    return None


def duplicates(rng: Random, messages: Sequence[Message]) -> list[Message]:
    """Return exact copies of some messages, and copies that differ in case, digits or spaces only."""
    drawn = shuffled(rng, messages)[: EXACT_DUPLICATES + NEAR_DUPLICATES]
    exact, near = drawn[:EXACT_DUPLICATES], drawn[EXACT_DUPLICATES:]
    return exact + [Message(message.label, vary(rng, message.text), message.skeletons) for message in near]


def vary(rng: Random, text: str) -> str:
    """Return `text` with other digits, in capitals, or with wider spaces."""
    if any(character.isdigit() for character in text):
        return re.sub(r"\d", lambda _: str(int(rng.random() * 10)), text) if not has_number(text) else text.upper()
    return text.upper() if rng.random() < 0.5 else text.replace(" ", "  ")


def has_number(text: str) -> bool:
    """Tell whether a text may hold a telephone number, whose digits must stay in the ranges kept for fiction."""
    return re.search(r"\d{3}", text) is not None


def dirty_rows(rng: Random, messages: Sequence[Message]) -> list[Message]:
    """Return the rows that validation must catch: missing, blank and over-long texts, undeclared labels."""
    ham = shuffled(rng, [message for message in messages if message.label == "ham"])
    missing = [Message(label, "") for label in ("ham", "ham", "ham", "spam")]
    blank = [Message(label, "   ") for label in ("ham", "ham", "ham", "spam", "spam")]
    long = [chain_letter(ham[i * 20 : i * 20 + 20]) for i in range(7)]
    unknown = [Message("unknown", message.text, message.skeletons) for message in ham[-3:]]
    return missing + blank + long + unknown


def chain_letter(parts: Sequence[Message]) -> Message:
    """Return one over-long message: a thread of messages that somebody forwarded whole."""
    text = "FWD:"
    skeletons: list[int] = []
    for part in parts:
        if len(text) > LONG_TEXT:
            break
        text += f" > {part.text}"
        skeletons += part.skeletons
    return Message("ham", text, tuple(skeletons))


def sample(seed: int = SEED) -> list[Message]:
    """Return all rows of the sample in their order in the file."""
    rng = Random(seed)
    messages = distinct_messages(rng)
    return shuffled(rng, messages + duplicates(rng, messages) + dirty_rows(rng, messages))


def main() -> None:
    """Write the sample as `label<TAB>text` lines without a header, like the SMS Spam Collection."""
    parser = argparse.ArgumentParser(description="Compose the sample messages of the preset spam-demo.")
    parser.add_argument(
        "--out", type=Path, default=HERE / "spam.tsv", help="where to write (default: beside the script)"
    )
    path = parser.parse_args().out
    lines = [f"{message.label}\t{message.text}\n" for message in sample()]
    path.write_bytes("".join(lines).encode())


if __name__ == "__main__":
    main()
