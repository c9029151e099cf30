"""How an entry is written out for a language model: in one place, for training, generation, judging and serving."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator

from components.core.config import Config
from components.core.templates import Template as Slots


class Template(Config):
    """The text of an entry, in three parts, each with a slot for one of its fields; `{{` and `}}` stand for a brace."""

    instruction: str
    """What an entry begins with; holds `{instruction}`."""

    input: str
    """What follows where an entry has an input, and is left out where it has none; holds `{input}`."""

    response: str
    """What comes next; holds `{output}`. The prompt ends before it. Blanks right before it are the response's own, so
    that a word begins with the blank that byte-pair vocabularies give it; what stands after it ends every response."""

    stop: list[str] = Field(default_factory=list)
    """Texts at which a response ends, besides the end-of-text token: what the model may write before it goes on to
    invent the next entry."""

    @field_validator("instruction", "input", "response")
    @classmethod
    def _has_its_slot(cls, text: str, info: ValidationInfo) -> str:
        slot = "output" if info.field_name == "response" else str(info.field_name)
        names = Slots.of(text).names
        for name in names:
            if name != slot:
                raise ValueError(f"{{{name}}} is no variable of this part, only {{{slot}}} is; write {{{{ for a brace")
        if len(names) != 1:
            raise ValueError(f"{text!r} holds {{{slot}}} {len(names)} times; it must stand there once")
        return text

    @field_validator("stop")
    @classmethod
    def _stops_say_something(cls, stops: list[str]) -> list[str]:
        if any(not stop.strip() for stop in stops):
            raise ValueError("a text to stop at is empty or blank, and would end every response; leave it out")
        return stops

    def prompt(self, instruction: str, input: str = "") -> str:
        """Return everything up to the response."""
        middle = input.join(Slots.of(self.input).literals) if input else ""
        return instruction.join(Slots.of(self.instruction).literals) + middle + self._around[0].rstrip(" ")

    def completion(self, output: str) -> str:
        """Return what follows the prompt: blanks, the response, and what ends it."""
        before, after = self._around
        return " " * (len(before) - len(before.rstrip(" "))) + output + after

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts at which a response ends."""
        after = self._around[1].strip()
        return tuple(dict.fromkeys([*([after] if after else []), *self.stop]))

    def clean(self, text: str) -> str:
        """Return a generated text up to the first of `stops`, without blanks around it."""
        ends = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        return text[: min(ends, default=len(text))].strip()

    @property
    def _around(self) -> tuple[str, ...]:
        """What stands before a response, and after it."""
        return Slots.of(self.response).literals


TemplateName = Literal["alpaca", "phi3", "alpaca-ko", "completion"]

TEMPLATES: dict[str, Template] = {
    # Taori et al., "Stanford Alpaca", 2023, with one preamble for entries with and without an input, as in chapter 7 of
    # Raschka, "Build a Large Language Model (From Scratch)".
    "alpaca": Template(
        instruction=(
            "Below is an instruction that describes a task. "
            "Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}"
        ),
        input="\n\n### Input:\n{input}",
        response="\n\n### Response:\n{output}",
        stop=["### Instruction:", "### Input:", "### Response:"],
    ),
    # Abdin et al., "Phi-3 Technical Report", 2024, in the spelling of the same book's exercise 7.1.
    "phi3": Template(
        instruction="<|user|>\n{instruction}",
        input="\n{input}",
        response="\n<|assistant|>:\n{output}",
        stop=["<|user|>", "<|assistant|>", "<|end|>"],
    ),
    "alpaca-ko": Template(
        instruction=(
            "아래는 작업을 설명하는 지시사항입니다. 요청을 알맞게 완성하는 응답을 작성하세요.\n\n"
            "### 지시사항:\n{instruction}"
        ),
        input="\n\n### 입력:\n{input}",
        response="\n\n### 응답:\n{output}",
        stop=["### 지시사항:", "### 입력:", "### 응답:"],
    ),
    # The form of OpenAI's early fine-tuning: a fixed separator ends the prompt, the completion begins with a blank.
    "completion": Template(
        instruction="{instruction}",
        input="\n\n{input}",
        response="\n\n###\n\n {output}",
        stop=["\n\n###\n\n"],
    ),
}
"""The templates that go by a name."""


def _kind(value: object) -> str:
    return "name" if isinstance(value, str) else "parts"


class PromptConfig(Config):
    """Section `prompt` of a preset."""

    template: Annotated[
        Annotated[TemplateName, Tag("name")] | Annotated[Template, Tag("parts")], Discriminator(_kind)
    ] = "alpaca"
    """A template's name, or `instruction`, `input`, `response` and `stop` of your own."""

    @property
    def resolved(self) -> Template:
        """The template, whether it was given by name or written out."""
        return TEMPLATES[self.template] if isinstance(self.template, str) else self.template

    @property
    def name(self) -> str:
        """The template's name, or `own`."""
        return self.template if isinstance(self.template, str) else "own"
