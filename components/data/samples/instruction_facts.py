"""What the entries of `instruct-demo` ask about, and the responses, worked out from the lists in `instructions.txt`.

Each public function here is one kind of question: it takes a generator and the lists, and returns its facts, which are
what the slots of a phrasing hold and, under `output`, the response.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise, product
from random import Random

from components.data.samples.make_spam import pick, shuffled

GROUPS = ("mammal", "bird", "fruit", "tool", "vehicle", "instrument", "garment", "building")
ANIMALS = ("mammal", "bird")
NOT_ALIVE = ("tool", "vehicle", "instrument", "garment", "building")
UNITS = (("kilometre", "metre"), ("kilogram", "gram"), ("litre", "millilitre"))
"""A thousand of the second make one of the first."""
DOUBLED = ("stop", "plan")
"""Verbs whose last letter is doubled before -ed."""
DRAWS = 60
"""How many facts are drawn where there are more than could be listed."""

Fact = dict[str, str]
Lists = dict[str, list[list[str]]]
"""Of every list in the file, its lines, cut into words."""
Facts = Callable[[Random, Lists], list[Fact]]


def words(lists: Lists, *names: str) -> list[str]:
    """Return the words of some lists, in the file's order."""
    return [word for name in names for line in lists[name] for word in line]


def number(rng: Random, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`, both included."""
    return low + int(rng.random() * (high - low + 1))


def some(rng: Random, values: Sequence[str], n: int) -> list[str]:
    """Return `n` different ones of `values`."""
    return shuffled(rng, values)[:n]


def with_article(noun: str) -> str:
    """Return a noun with `a` or `an`."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(noun: str, irregular: dict[str, str]) -> str:
    """Return the plural of a noun, by rule unless it is `irregular`."""
    if noun in irregular:
        return irregular[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def past(verb: str) -> str:
    """Return the past tense of a regular verb."""
    if verb.endswith("e"):
        return f"{verb}d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ied"
    return f"{verb}{verb[-1] if verb in DOUBLED else ''}ed"


def labels(_: Random, lists: Lists) -> list[Fact]:
    """The group of every word."""
    members = [(word, group) for group in GROUPS for word in words(lists, group)]
    return [{"word": word, "a_word": with_article(word), "output": group} for word, group in members]


def animals(rng: Random, lists: Lists) -> list[Fact]:
    """Yes for the animals, no for as many other things."""
    living = words(lists, *ANIMALS)
    others = some(rng, words(lists, *NOT_ALIVE), len(living))
    answers = [("yes", with_article(noun)) for noun in living] + [("no", with_article(noun)) for noun in others]
    return [{"a_word": noun, "A_word": noun.capitalize(), "output": answer} for answer, noun in answers]


def evenness(_: Random, __: Lists) -> list[Fact]:
    """Yes for even numbers, no for odd ones."""
    return [{"number": str(n), "output": "no" if n % 2 else "yes"} for n in range(1, 25)]


def sizes(rng: Random, lists: Lists) -> list[Fact]:
    """The bigger or the smaller one of two things that stand on different lines of the list."""
    lines = lists["sizes"]
    pairs = [pair for i, line in enumerate(lines) for bigger in lines[i + 1 :] for pair in product(line, bigger)]
    facts = []
    for pair in pairs:
        a, b = shuffled(rng, map(with_article, pair))
        bigger = rng.random() < 0.5
        asked = "bigger" if bigger else "smaller"
        facts.append({"a": a, "b": b, "bigger": asked, "output": with_article(pair[bigger])})
    return facts


def plurals(_: Random, lists: Lists) -> list[Fact]:
    """The plural of every noun."""
    irregular = dict(lists["irregular plurals"])
    nouns = dict.fromkeys([*words(lists, *GROUPS, "things"), *irregular])
    return [{"word": noun, "output": plural(noun, irregular)} for noun in nouns]


def pasts(_: Random, lists: Lists) -> list[Fact]:
    """The past tense of every verb."""
    regular = [(verb, past(verb)) for verb in words(lists, "regular verbs")]
    irregular = [(verb, form) for verb, form in lists["irregular verbs"]]
    return [{"word": verb, "output": form} for verb, form in regular + irregular]


def opposites(_: Random, lists: Lists) -> list[Fact]:
    """The opposite of every word, either way round."""
    return [{"word": a, "output": b} for one, other in lists["opposites"] for a, b in ((one, other), (other, one))]


def sums(rng: Random, lists: Lists) -> list[Fact]:
    """Two numbers from 2 to 7 added."""
    return [
        {"a": str(a), "b": str(b), **_story(rng, lists), "output": str(a + b)}
        for a, b in product(range(2, 8), repeat=2)
    ]


def differences(rng: Random, lists: Lists) -> list[Fact]:
    """A number from 1 to 5 taken from one that is up to 5 higher."""
    return [
        {"a": str(a + b), "b": str(b), **_story(rng, lists), "output": str(a)}
        for a, b in product(range(1, 6), repeat=2)
    ]


def _story(rng: Random, lists: Lists) -> Fact:
    """Who counts, and what."""
    return {"name": pick(rng, words(lists, "names")), "goods": pick(rng, words(lists, "goods"))}


def conversions(rng: Random, _: Lists) -> list[Fact]:
    """Amounts in the thousandfold unit, either way round."""
    facts = []
    for big, small in UNITS:
        for n in some(rng, [str(n) for n in range(2, 25)], 12):
            much, many = f"{n} {big}s", f"{n},000 {small}s"
            facts.append({"amount": much, "unit": f"{small}s", "output": many})
            facts.append({"amount": many, "unit": f"{big}s", "output": much})
    return facts


def dates(rng: Random, lists: Lists) -> list[Fact]:
    """American dates in British order."""
    facts = []
    for month in words(lists, "months") * 4:
        day, year = number(rng, 1, 28), number(rng, 2020, 2029)
        facts.append({"date": f"{month} {day}, {year}", "output": f"{day} {month} {year}"})
    return facts


def full_names(_: Random, lists: Lists) -> list[Fact]:
    """Names as in an index."""
    pairs = product(words(lists, "names"), words(lists, "surnames"))
    return [{"name": f"{first} {last}", "output": f"{last}, {first}"} for first, last in pairs]


def enumerations(rng: Random, lists: Lists) -> list[Fact]:
    """Two words of a kind, joined."""
    pairs = [some(rng, words(lists, pick(rng, [*GROUPS, "colours"])), 2) for _ in range(DRAWS)]
    return [{"words": f"{a}, {b}", "output": f"{a} and {b}"} for a, b in pairs]


def questions(_: Random, lists: Lists) -> list[Fact]:
    """Statements as questions."""
    return [{"sentence": f"The {a} is {b}.", "output": f"Is the {a} {b}?"} for a, b in _statements(lists)]


def negatives(_: Random, lists: Lists) -> list[Fact]:
    """Statements denied."""
    return [{"sentence": f"The {a} is {b}.", "output": f"The {a} is not {b}."} for a, b in _statements(lists)]


def _statements(lists: Lists) -> Iterable[tuple[str, str]]:
    return product(words(lists, "things"), words(lists, "qualities"))


def requests(_: Random, lists: Lists) -> list[Fact]:
    """Orders as polite questions."""
    orders = [(verb, thing) for verb, *things in lists["requests"] for thing in things]
    return [
        {"sentence": f"{verb.capitalize()} the {thing}.", "output": f"Could you {verb} the {thing}, please?"}
        for verb, thing in orders
    ]


def passives(rng: Random, lists: Lists) -> list[Fact]:
    """Active sentences in the passive voice; the verbs' past tense is also their participle."""
    deeds = [(pick(rng, words(lists, "people")), verb, thing) for verb, *things in lists["deeds"] for thing in things]
    return [
        {"sentence": f"The {who} {verb} the {thing}.", "output": f"The {thing} was {verb} by the {who}."}
        for who, verb, thing in deeds
    ]


def reports(asked: str) -> Facts:
    """Return the function that asks for one part of a report: `who`, `how many`, `what`, `where` or `when`."""

    def facts(rng: Random, lists: Lists) -> list[Fact]:
        return [_report(rng, lists, asked) for _ in range(DRAWS)]

    return facts


def _report(rng: Random, lists: Lists, asked: str) -> Fact:
    part = {
        "who": pick(rng, words(lists, "names")),
        "how many": str(number(rng, 2, 20)),
        "what": pick(rng, words(lists, "goods")),
        "where": pick(rng, words(lists, "towns")),
        "when": pick(rng, words(lists, "days")),
    }
    deed = f"{pick(rng, words(lists, 'verbs of reports'))} {part['how many']} {part['what']}"
    sentences = (
        f"{part['who']} {deed} in {part['where']} on {part['when']}.",
        f"On {part['when']}, {part['who']} {deed} in {part['where']}.",
        f"In {part['where']}, {part['who']} {deed} on {part['when']}.",
    )
    return {"sentence": pick(rng, sentences), "output": part[asked]}


def following(name: str) -> Facts:
    """Return the function that asks for what comes next in a list, the first word after the last."""

    def facts(_: Random, lists: Lists) -> list[Fact]:
        found = words(lists, name)
        return [{"word": a, "output": b} for a, b in pairwise([*found, found[0]])]

    return facts


def counting(_: Random, __: Lists) -> list[Fact]:
    """The next number."""
    return [{"word": str(n), "output": str(n + 1)} for n in range(1, 16)]
