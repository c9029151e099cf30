"""A prompt taken apart into what stands around its system message, its turns and its answers, for Ollama's templates.

Ollama's template writes one exchange: a system message if there is one, what the user says, what the assistant says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from components.chat import ChatTemplate
from components.conversations import Message
from components.core.errors import ConfigError, WeightsError
from components.core.templates import Template as Slots
from components.prompts import AnyTemplate

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
SAID = ("first", "second", "third")
MESSAGE = "instructed-by"
"""What is said in the conversations by which a template is taken apart, and in their system message."""


@dataclass(frozen=True)
class Exchange:
    """What stands around the parts of an exchange; `start` begins a whole conversation, once."""

    start: str
    before: str
    before_system: str
    after_system: str
    before_user: str
    before_assistant: str
    after_assistant: str
    system: str | None = None
    """The system message of conversations that bring none."""
    blanks: str = ""
    """What an answer begins with where others follow: the model writes it by itself."""

    def write(self, messages: Sequence[Message]) -> str:
        """Return a conversation that ends with the user, up to the answer."""
        system = messages[0]["content"] if messages[0]["role"] == SYSTEM else self.system
        text = self.start
        for place, turn in enumerate(each for each in messages if each["role"] != SYSTEM):
            if turn["role"] == ASSISTANT:
                text += self.blanks + turn["content"] + self.after_assistant
                continue
            first = system is not None and place == 0
            said = f"{self.before_system}{system}{self.after_system}" if first else ""
            text += f"{self.before}{said}{self.before_user}{turn['content']}{self.before_assistant}"
        return text


def exchange_of(template: AnyTemplate, start: str, end: str) -> Exchange:
    """Return the parts of a template.

    Args:
        template: the template that a model was trained with.
        start: the name of the token before a conversation, empty if there is none.
        end: that of the token after a response.

    Raises:
        WeightsError: if its turns are more than parts put one after the other.
    """
    if isinstance(template, ChatTemplate):
        return _of_chat(template, start)
    before, after = Slots.of(template.instruction).literals
    response, rest = Slots.of(template.response).literals
    return Exchange(start, "", "", "\n\n", before, after + response.rstrip(" "), rest + end)


def _of_chat(template: ChatTemplate, start: str) -> Exchange:
    template = template.model_copy(update={"system": None})
    start = start if template.render(_talk(1, None)).startswith(start) else ""
    found = next(filter(None, (way(template, start) for way in (_system_apart, _system_within, _no_system))), None)
    if found is None or any(found.write(each) != template.render(each) for each in _conversations(found)):
        raise WeightsError(
            "the model's chat template is more than parts put one after the other, which is all that Ollama's can "
            "say; export the model with --to gguf, which holds the template itself"
        )
    return found


def _talk(turns: int, system: str | None) -> list[Message]:
    """Return a conversation of so many questions, with an answer between each two."""
    said: list[Message] = [{"role": SYSTEM, "content": system}] if system is not None else []
    for place in range(turns):
        said += [{"role": ASSISTANT, "content": f"answer-{SAID[place]}"}] if place else []
        said.append({"role": USER, "content": f"question-{SAID[place]}"})
    return said


def _conversations(exchange: Exchange) -> list[list[Message]]:
    """Return conversations on which the parts have to agree with the template."""
    systems = (None, MESSAGE) if exchange.before_system or exchange.after_system else (None,)
    return [_talk(turns, system) for turns, system in product((1, 2, 3), systems)]


def _around(template: ChatTemplate, start: str, system: str | None) -> list[str] | None:
    """Return what stands before, between and after what is said in a conversation of two questions."""
    messages = _talk(2, system)
    try:
        text = template.render(messages)
    except ConfigError:
        return None
    pieces, text = [], text.removeprefix(start)
    for message in messages:
        piece, found, text = text.partition(message["content"])
        if not found:
            return None
        pieces.append(piece)
    return [*pieces, text]


def _system_apart(template: ChatTemplate, start: str) -> Exchange | None:
    """Take a template apart in which a system message is a turn of its own."""
    plain, full = _around(template, start, None), _around(template, start, MESSAGE)
    if plain is None or full is None:
        return None
    opening, closing, answer, between, last = full
    default = None
    user = plain[0]
    if user.startswith(opening) and user.endswith(closing) and len(user) > len(opening + closing):
        default, user = user[len(opening) : len(user) - len(closing)], _common_end(closing, between)
    if not _is_blank_more(answer, last) or not (closing.endswith(user) and between.endswith(user)):
        return None
    after = (each.removesuffix(user) for each in (closing, between))
    return Exchange(start, "", opening, next(after), user, last, next(after), default, answer.removeprefix(last))


def _system_within(template: ChatTemplate, start: str) -> Exchange | None:
    """Take a template apart in which a system message stands within the first turn of the user."""
    plain, full = _around(template, start, None), _around(template, start, MESSAGE)
    if plain is None or full is None:
        return None
    opening, closing, answer, between, last = full
    before = plain[0]
    if not _is_blank_more(answer, last) or not (opening.startswith(before) and between.endswith(before)):
        return None
    own = opening.removeprefix(before)
    return Exchange(
        start, before, own, closing, "", last, between.removesuffix(before), None, answer.removeprefix(last)
    )


def _no_system(template: ChatTemplate, start: str) -> Exchange | None:
    """Take a template apart that knows no system messages."""
    plain = _around(template, start, None)
    if plain is None:
        return None
    user, answer, between, last = plain
    if not _is_blank_more(answer, last) or not between.endswith(user):
        return None
    return Exchange(start, "", "", "", user, last, between.removesuffix(user), None, answer.removeprefix(last))


def _common_end(one: str, other: str) -> str:
    """Return the longest line, or lines, in which two texts end alike, but not all of one."""
    lines = one.splitlines(keepends=True)
    ends = ("".join(lines[place:]) for place in range(1, len(lines)))
    return next((end for end in ends if other.endswith(end)), "")


def _is_blank_more(answer: str, last: str) -> bool:
    """Tell whether an answer begins as a prompt ends, but for blanks."""
    return answer.startswith(last) and not answer.removeprefix(last).strip(" ")
