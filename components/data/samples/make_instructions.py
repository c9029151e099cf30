"""Compose the entries of the preset `instruct-demo`: `python -m components.data.samples.make_instructions`.

Words and phrasings stand in `instructions.txt`, the responses are worked out in `instruction_facts.py`. An entry is a
fact (a word and its plural, two numbers and their sum) in one phrasing. A word comes back in several tasks, and what
cannot be worked out (a group, an opposite) in several phrasings, so that a small network that starts from nothing can
take from some entries what it needs for others. All is drawn from one seed; only `Random.random` is used, the one
method whose sequence Python promises to keep between versions.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from components.data.samples import instruction_facts as facts
from components.data.samples.instruction_facts import Facts, Lists, number
from components.data.samples.make_spam import HERE, content_lines, shuffled

SEED = 2026
ASK = "ask "
"""What the names of phrasings begin with in `instructions.txt`."""
SEPARATOR = " | "
"""What stands between a phrasing's instruction and its input."""


@dataclass(frozen=True)
class Entry:
    """An entry of the file."""

    instruction: str
    input: str
    output: str
    task: str


@dataclass(frozen=True)
class Recipe:
    """How many entries of a task are made from which facts, in which phrasings (those under `ask <phrasings>`)."""

    task: str
    phrasings: str
    entries: int
    facts: Facts


RECIPES = (
    Recipe("labelling", "label", 144, facts.labels),
    Recipe("yes-no", "animal", 96, facts.animals),
    Recipe("yes-no", "even", 48, facts.evenness),
    Recipe("comparison", "size", 90, facts.sizes),
    Recipe("formatting", "date", 44, facts.dates),
    Recipe("formatting", "name", 40, facts.full_names),
    Recipe("formatting", "list", 40, facts.enumerations),
    Recipe("plural", "plural", 140, facts.plurals),
    Recipe("past-tense", "past", 90, facts.pasts),
    Recipe("opposite", "opposite", 150, facts.opposites),
    Recipe("arithmetic", "sum", 108, facts.sums),
    Recipe("arithmetic", "difference", 75, facts.differences),
    Recipe("conversion", "conversion", 48, facts.conversions),
    Recipe("rewriting", "question", 30, facts.questions),
    Recipe("rewriting", "negative", 30, facts.negatives),
    Recipe("rewriting", "polite", 30, facts.requests),
    Recipe("rewriting", "passive", 30, facts.passives),
    *(Recipe("reading", asked, 20, facts.reports(asked)) for asked in ("who", "where", "when", "how many", "what")),
    Recipe("sequence", "day", 28, facts.following("days")),
    Recipe("sequence", "month", 36, facts.following("months")),
    Recipe("sequence", "count", 45, facts.counting),
)


def read_file() -> tuple[Lists, dict[str, list[str]]]:
    """Return the word lists and the phrasings, by name."""
    lists: Lists = {}
    phrasings: dict[str, list[str]] = {}
    name = ""
    for line in content_lines("instructions.txt"):
        if line.startswith("== "):
            name = line.removeprefix("== ")
        elif name.startswith(ASK):
            phrasings.setdefault(name.removeprefix(ASK), []).append(line)
        else:
            lists.setdefault(name, []).append(line.split())
    return lists, phrasings


def fold(text: str) -> str:
    """Return what makes two texts the same: case and white space do not count."""
    return "".join(text.casefold().split())


def compose(rng: Random, recipe: Recipe, lists: Lists, phrasings: Sequence[str]) -> list[Entry]:
    """Return a recipe's entries: one of each fact, then a second in another phrasing, and so on until there are enough.

    A question that was there already is passed over.
    """
    drawn = [(fact, number(rng, 0, len(phrasings) - 1)) for fact in shuffled(rng, recipe.facts(rng, lists))]
    entries: dict[str, Entry] = {}
    for turn in range(len(phrasings)):
        for fact, first in drawn:
            asked = phrasings[(first + turn) % len(phrasings)].format(**fact)
            instruction, _, given = asked.partition(SEPARATOR)
            entries.setdefault(fold(asked), Entry(instruction, given, fact["output"], recipe.task))
    return list(entries.values())[: recipe.entries]


def sample(seed: int = SEED) -> list[Entry]:
    """Return all entries in their order in the file."""
    rng = Random(seed)
    lists, phrasings = read_file()
    composed = [compose(rng, recipe, lists, phrasings[recipe.phrasings]) for recipe in RECIPES]
    return shuffled(rng, [entry for entries in composed for entry in entries])


def main() -> None:
    """Write the entries as a JSON array of objects, an object a line."""
    parser = argparse.ArgumentParser(description="Compose the entries of the preset instruct-demo.")
    parser.add_argument(
        "--out", type=Path, default=HERE / "instructions.json", help="where to write (default: beside the script)"
    )
    path = parser.parse_args().out
    lines = [json.dumps(asdict(entry), ensure_ascii=False) for entry in sample()]
    path.write_bytes(("[\n" + ",\n".join(lines) + "\n]\n").encode())


if __name__ == "__main__":
    main()
