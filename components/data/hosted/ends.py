"""How prompts and completions end and begin: what a service that continues texts has to be told by the text itself.

The rules are those of guides to the fine-tuning of models that continue texts. Every prompt ends with one separator,
which stands nowhere else in it; every completion begins with a single blank, as words do in byte-pair vocabularies, and
ends with one stop text, which stands nowhere else in it, so that generation can be stopped there.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from components.core.errors import ConfigError
from components.data.hosted.config import HostedConfig

SEPARATORS = ("\n\n###\n\n", "\n\n---\n\n", "\n\n->\n\n", "\n\n<|answer|>\n\n")
STOPS = ("\n", " END", " ###", " <|end|>")
"""What is tried, in this order, where the config names none."""
LIKE_AN_END = re.compile(r"\s*(?:#{2,}|-{2,}|[-=]+>|<\|[^<>|]*\|>|\bEND\b|\n)\s*\Z")
"""What a common ending must look like to be taken for one, and not for words with which all texts happen to end."""

Pair = tuple[str, str]
"""A prompt and a completion."""


@dataclass(frozen=True)
class Ends:
    """What stands around texts: after each prompt, and after each completion, which a blank begins."""

    separator: str
    stop: str

    def put(self, pair: Pair) -> Pair:
        """Return a prompt and a completion with what stands around them; the completion's own first blanks go."""
        prompt, completion = pair
        return f"{prompt}{self.separator}", f" {completion.lstrip()}{self.stop}"

    def taken_off(self, pair: Pair) -> Pair:
        """Return a prompt and a completion without what `put` put around them, as far as it is there."""
        prompt, completion = pair
        return prompt.removesuffix(self.separator), completion.removeprefix(" ").removesuffix(self.stop)


@dataclass(frozen=True)
class FoundEnds:
    """What stands around the texts of a file."""

    ends: Ends
    """Empty where not all texts have one."""
    pairs: int
    blanks: int
    """Completions that begin with a single blank."""

    @property
    def problems(self) -> list[str]:
        """What a hosted service's guide would object to, a sentence each."""
        found = []
        if not self.ends.separator:
            found.append("prompts do not all end with one separator")
        if self.blanks < self.pairs:
            found.append(f"{self.pairs - self.blanks:,} of {self.pairs:,} completions do not begin with a single blank")
        if not self.ends.stop:
            found.append("completions do not all end with one stop text")
        return found


def find_ends(pairs: Iterable[Pair]) -> FoundEnds:
    """Return what stands around prompts and completions, read once."""
    count, blanks, common = 0, 0, ["", ""]
    for pair in pairs:
        backwards = [text[::-1] for text in pair]
        common = [*map(_beginning, common, backwards)] if count else backwards
        blanks += re.match(r" (?!\s)", pair[1]) is not None
        count += 1
    endings = [LIKE_AN_END.search(text[::-1]) for text in common]
    return FoundEnds(Ends(*(found[0] if found else "" for found in endings)), count, blanks)


def _beginning(one: str, other: str) -> str:
    """Return what two texts begin with."""
    return one[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))]


def choose_ends(pairs: Iterable[Pair], config: HostedConfig) -> Ends:
    """Return a separator and a stop text that stand nowhere in the texts that they are to end.

    Raises:
        ConfigError: if those of the config do, or all that are tried.
    """
    separators = [config.separator] if config.separator else list(SEPARATORS)
    stops = [config.stop] if config.stop else list(STOPS)
    for number, (prompt, completion) in enumerate(pairs, 1):
        for key, texts, text in (("separator", separators, prompt), ("stop", stops, f" {completion.lstrip()}")):
            if fitting := [each for each in texts if (text + each).find(each) == len(text)]:
                texts[:] = fitting
            else:
                where = "prompt" if key == "separator" else "completion"
                raise ConfigError(
                    f"hosted.{key}: {' and '.join(map(repr, texts))} stands in the {where} of example {number}, which "
                    f"would seem to end there; set another hosted.{key}"
                )
    return Ends(separators[0], stops[0])
