"""Compose the entries of the preset `instruct-demo`: `python -m components.data.samples.make_instructions`.

Words and phrasings stand in `instructions.txt`; this module combines them and works out the responses. An entry is a
fact (a word and its plural, two numbers and their sum) in one of its task's phrasings. The same word comes back in
several tasks, and a fact that cannot be worked out (an opposite, a group) in several phrasings, so that a small model
can learn from some entries what it needs for others. All is drawn from one seed; only `Random.random` is used, the one
method whose sequence Python promises to keep between versions.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import TypeVar

from components.data.samples.make_spam import HERE, content_lines, pick

SEED = 2026
GROUPS = ("mammal", "bird", "fruit", "tool", "vehicle", "instrument", "garment", "building")
UNITS = (
    ("kilometre", "metre"), ("kilogram", "gram"), ("litre", "millilitre"), ("tonne", "kilogram"), ("metre", "millimetre"),
)  # fmt: skip
"""A thousand of the second make one of the first."""

Fact = dict[str, str]
"""What a phrasing's slots hold, and under `output` the response."""
Lists = dict[str, list[list[str]]]
"""Of every list in the file, its lines as words."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Entry:
    """An entry of the file."""

    instruction: str
    input: str
    output: str
    task: str


@dataclass(frozen=True)
class Recipe:
    """So many entries of a task: facts in the phrasings of the list `ask <phrasings>`."""

    task: str
    phrasings: str
    entries: int
    facts: Callable[[Random, Lists], list[Fact]]


def read_file() -> tuple[Lists, dict[str, list[str]]]:
    """Return the word lists, and the phrasings by name."""
    lists: Lists = {}
    phrasings: dict[str, list[str]] = {}
    name = ""
    for line in content_lines("instructions.txt"):
        if line.startswith("== "):
            name = line.removeprefix("== ")
        elif name.startswith("ask "):
            phrasings.setdefault(name.removeprefix("ask "), []).append(line)
        else:
            lists.setdefault(name, []).append(line.split())
    return lists, phrasings


def words(lists: Lists, *names: str) -> list[str]:
    """Return the words of some lists, in the file's order."""
    return [word for name in names for line in lists[name] for word in line]


def shuffled(rng: Random, values: Iterable[Value]) -> list[Value]:
    """Return `values` in an order drawn by `Random.random`."""
    drawn = [(rng.random(), value) for value in values]
    return [value for _, value in sorted(drawn, key=lambda pair: pair[0])]


def number(rng: Random, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`, both included."""
    return low + int(rng.random() * (high - low + 1))


def some(rng: Random, values: Sequence[str], n: int) -> list[str]:
    """Return `n` different ones of `values`."""
    return shuffled(rng, values)[:n]


def with_article(word: str) -> str:
    """Return a noun with `a` or `an`."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def plural(word: str, lists: Lists) -> str:
    """Return the plural of a noun."""
    irregular = dict(lists["irregular plurals"])
    if word in irregular:
        return irregular[word]
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


def past(verb: str) -> str:
    """Return the past tense of a regular verb."""
    if verb.endswith("e"):
        return f"{verb}d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ied"
    return f"{verb}{verb[-1]}ed" if verb in ("stop", "plan", "drop", "clap") else f"{verb}ed"


def labels(_: Random, lists: Lists) -> list[Fact]:
    return [
        {"word": word, "a_word": with_article(word), "output": group}
        for group in GROUPS
        for word in words(lists, group)
    ]


def animals(rng: Random, lists: Lists) -> list[Fact]:
    """All animals, and as many other things."""
    living = words(lists, "mammal", "bird")
    others = some(rng, words(lists, "tool", "vehicle", "instrument", "garment", "building"), len(living))
    return [
        {"a_word": thing, "A_word": thing.capitalize(), "output": answer}
        for answer, nouns in (("yes", living), ("no", others))
        for thing in map(with_article, nouns)
    ]


def evenness(_: Random, __: Lists) -> list[Fact]:
    return [{"number": str(n), "output": "no" if n % 2 else "yes"} for n in range(1, 25)]


def sizes(rng: Random, lists: Lists) -> list[Fact]:
    facts = []
    for i, small in enumerate(lists["sizes"]):
        for big in lists["sizes"][i + 1 :]:
            for pair in product(small, big):
                a, b = (with_article(word) for word in shuffled(rng, pair))
                bigger = rng.random() < 0.5
                facts.append({
                    "a": a, "b": b, "bigger": "bigger" if bigger else "smaller", "output": with_article(pair[bigger]),
                })  # fmt: skip
    return facts


def numbers(rng: Random, _: Lists) -> list[Fact]:
    facts = []
    for _ in range(200):
        a, b = number(rng, 10, 99), number(rng, 10, 99)
        larger = rng.random() < 0.5
        if a != b:
            facts.append({
                "a": str(a), "b": str(b), "larger": "larger" if larger else "smaller",
                "output": str(max(a, b) if larger else min(a, b)),
            })  # fmt: skip
    return facts


def plurals(_: Random, lists: Lists) -> list[Fact]:
    nouns = words(lists, *GROUPS, "things") + [pair[0] for pair in lists["irregular plurals"]]
    return [{"word": noun, "output": plural(noun, lists)} for noun in dict.fromkeys(nouns)]


def pasts(_: Random, lists: Lists) -> list[Fact]:
    regular = [{"word": verb, "output": past(verb)} for verb in words(lists, "regular verbs")]
    return regular + [{"word": verb, "output": form} for verb, form in lists["irregular verbs"]]


def opposites(_: Random, lists: Lists) -> list[Fact]:
    pairs = lists["opposites"]
    return [{"word": a, "output": b} for pair in pairs for a, b in (pair, pair[::-1])]


def sums(rng: Random, lists: Lists) -> list[Fact]:
    return [
        {"a": str(a), "b": str(b), "output": str(a + b), **story(rng, lists)}
        for a, b in product(range(2, 10), repeat=2)
    ]


def differences(rng: Random, lists: Lists) -> list[Fact]:
    return [
        {"a": str(a + b), "b": str(b), "output": str(a), **story(rng, lists)}
        for a, b in product(range(2, 10), repeat=2)
    ]


def story(rng: Random, lists: Lists) -> Fact:
    return {
        "name": pick(rng, words(lists, "names")),
        "goods": pick(rng, words(lists, "goods")),
    }


def conversions(rng: Random, _: Lists) -> list[Fact]:
    facts = []
    for big, small in UNITS:
        for n in some(rng, [str(n) for n in range(2, 60)], 20):
            pair = (f"{n} {big}s", f"{n},000 {small}s")
            facts += [
                {"amount": pair[0], "unit": f"{small}s", "output": pair[1]},
                {"amount": pair[1], "unit": f"{big}s", "output": pair[0]},
            ]
    return facts


def dates(rng: Random, lists: Lists) -> list[Fact]:
    facts = []
    for month in words(lists, "months") * 4:
        day, year = number(rng, 1, 28), number(rng, 2020, 2029)
        facts.append({"date": f"{month} {day}, {year}", "output": f"{day} {month} {year}"})
    return facts


def iso_dates(rng: Random, lists: Lists) -> list[Fact]:
    facts = []
    for i, month in enumerate(words(lists, "months") * 4):
        day, year = number(rng, 1, 28), number(rng, 2020, 2029)
        facts.append({"date": f"{day}/{i % 12 + 1}/{year}", "output": f"{day} {month} {year}"})
    return facts


def full_names(_: Random, lists: Lists) -> list[Fact]:
    pairs = product(words(lists, "names"), words(lists, "surnames"))
    return [{"name": f"{first} {last}", "output": f"{last}, {first}"} for first, last in pairs]


def enumerations(rng: Random, lists: Lists) -> list[Fact]:
    facts = []
    for _ in range(60):
        a, b, c = some(rng, words(lists, pick(rng, [*GROUPS, "colours"])), 3)
        facts.append({"words": f"{a} {b} {c}", "output": f"{a}, {b} and {c}"})
    return facts


def clock_times(_: Random, lists: Lists) -> list[Fact]:
    facts = []
    for i, hour in enumerate(words(lists, "hours")):
        now, before = i + 1, (i - 1) % 12 + 1
        facts += [
            {"time": f"{hour} o'clock", "output": f"{now}:00"},
            {"time": f"half past {hour}", "output": f"{now}:30"},
            {"time": f"quarter past {hour}", "output": f"{now}:15"},
            {"time": f"quarter to {hour}", "output": f"{before}:45"},
        ]
    return facts


def statements(lists: Lists) -> Iterator[tuple[str, str]]:
    return product(words(lists, "things"), words(lists, "qualities"))


def questions(_: Random, lists: Lists) -> list[Fact]:
    return [{"sentence": f"The {a} is {b}.", "output": f"Is the {a} {b}?"} for a, b in statements(lists)]


def negatives(_: Random, lists: Lists) -> list[Fact]:
    return [{"sentence": f"The {a} is {b}.", "output": f"The {a} is not {b}."} for a, b in statements(lists)]


def requests(_: Random, lists: Lists) -> list[Fact]:
    return [
        {"sentence": f"{verb.capitalize()} the {a}.", "output": f"Could you {verb} the {a}, please?"}
        for verb, *things in lists["requests"]
        for a in things
    ]


def passives(rng: Random, lists: Lists) -> list[Fact]:
    facts = []
    for verb, *objects in lists["deeds"]:
        for a in objects:
            who = pick(rng, words(lists, "people"))
            facts.append({"sentence": f"The {who} {verb} the {a}.", "output": f"The {a} was {verb} by the {who}."})
    return facts


def reports(asked: str) -> Callable[[Random, Lists], list[Fact]]:
    def facts(rng: Random, lists: Lists) -> list[Fact]:
        return [report(rng, lists, asked) for _ in range(60)]

    return facts


def report(rng: Random, lists: Lists, asked: str) -> Fact:
    parts = {
        "who": pick(rng, words(lists, "names")), "deed": pick(rng, words(lists, "verbs of reports")),
        "how many": str(number(rng, 2, 20)), "what": pick(rng, words(lists, "goods")),
        "where": pick(rng, words(lists, "towns")), "when": pick(rng, words(lists, "days")),
    }  # fmt: skip
    who, deed, how_many, what, where, when = parts.values()
    orders = (
        f"{who} {deed} {how_many} {what} in {where} on {when}.",
        f"On {when}, {who} {deed} {how_many} {what} in {where}.",
        f"In {where}, {who} {deed} {how_many} {what} on {when}.",
    )
    return {"sentence": pick(rng, orders), "output": parts[asked]}


def neighbours(name: str, by: int) -> Callable[[Random, Lists], list[Fact]]:
    def facts(_: Random, lists: Lists) -> list[Fact]:
        found = words(lists, name)
        return [{"word": word, "output": found[(i + by) % len(found)]} for i, word in enumerate(found)]

    return facts


def reversals(rng: Random, lists: Lists) -> list[Fact]:
    facts = []
    for _ in range(60):
        found = some(rng, words(lists, *GROUPS), 3)
        facts.append({"words": " ".join(found), "output": " ".join(reversed(found))})
    return facts


RECIPES = (
    Recipe("labelling", "label", 140, labels),
    Recipe("yes-no", "animal", 96, animals),
    Recipe("yes-no", "even", 48, evenness),
    Recipe("comparison", "size", 90, sizes),
    Recipe("formatting", "date", 30, dates),
    Recipe("formatting", "name", 30, full_names),
    Recipe("formatting", "list", 30, enumerations),
    Recipe("plural", "plural", 110, plurals),
    Recipe("past-tense", "past", 90, pasts),
    Recipe("opposite", "opposite", 160, opposites),
    Recipe("arithmetic", "sum", 110, sums),
    Recipe("arithmetic", "difference", 60, differences),
    Recipe("conversion", "conversion", 50, conversions),
    Recipe("rewriting", "question", 30, questions),
    Recipe("rewriting", "negative", 30, negatives),
    Recipe("rewriting", "polite", 30, requests),
    Recipe("rewriting", "passive", 30, passives),
    *(Recipe("reading", asked, 16, reports(asked)) for asked in ("who", "where", "when", "how many", "what")),
    Recipe("sequence", "day after", 28, neighbours("days", 1)),
    Recipe("sequence", "day before", 28, neighbours("days", -1)),
    Recipe("sequence", "month after", 30, neighbours("months", 1)),
    Recipe("sequence", "month before", 30, neighbours("months", -1)),
    Recipe("sequence", "reverse", 30, reversals),
)


def fold(text: str) -> str:
    """Return what makes two texts the same: case and white space do not count."""
    return "".join(text.casefold().split())


def compose(rng: Random, recipe: Recipe, lists: Lists, phrasings: Sequence[str]) -> list[Entry]:
    """Return a recipe's entries: its facts in turn, each round in phrasings that a fact has not had yet."""
    facts = shuffled(rng, recipe.facts(rng, lists))
    offsets = [number(rng, 0, len(phrasings) - 1) for _ in facts]
    entries: dict[str, Entry] = {}
    for turn in range(len(phrasings)):
        for fact, offset in zip(facts, offsets, strict=True):
            asked = phrasings[(offset + turn) % len(phrasings)].format(**fact)
            instruction, _, given = asked.partition(" | ")
            if len(entries) < recipe.entries:
                entries.setdefault(fold(asked), Entry(instruction, given, fact["output"], recipe.task))
    return list(entries.values())


def sample(seed: int = SEED) -> list[Entry]:
    """Return all entries in their order in the file."""
    rng = Random(seed)
    lists, phrasings = read_file()
    return shuffled(
        rng, [entry for recipe in RECIPES for entry in compose(rng, recipe, lists, phrasings[recipe.phrasings])]
    )


def main() -> None:
    """Write the entries as a JSON array of objects, an entry a line."""
    parser = argparse.ArgumentParser(description="Compose the entries of the preset instruct-demo.")
    parser.add_argument(
        "--out", type=Path, default=HERE / "instructions.json", help="where to write (default: beside the script)"
    )
    path = parser.parse_args().out
    lines = [json.dumps(asdict(entry), ensure_ascii=False) for entry in sample()]
    path.write_bytes(("[\n" + ",\n".join(lines) + "\n]\n").encode())


if __name__ == "__main__":
    main()
