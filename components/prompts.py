"""How an entry is written out for a language model: in one place, for training, generation, judging and serving."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from components.chat import ChatTemplate
from components.conversations import Message, as_message, as_transcript
from components.core.config import Config
from components.core.errors import ConfigError
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

    def prompt(self, instruction: str, input: str = "", history: Sequence[Message] = ()) -> str:
        """Return everything up to the response.

        Raises:
            ConfigError: if there are turns before it, which such a template cannot write.
        """
        if history:
            raise ConfigError(
                "prompt.template: a conversation of several turns, or with a system message, cannot be written as one "
                "entry; set prompt.template=chat, for a model that was taught to talk"
            )
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


AnyTemplate = Template | ChatTemplate


TemplateName = Literal["alpaca", "phi3", "alpaca-ko", "completion", "chat"]

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
    """A template's name, `chat` for the model's own, or `instruction`, `input`, `response` and `stop` of your own."""

    system: str | None = None
    """With `chat`: the system message of each entry that brings none; null leaves that to the template."""

    def resolved(self, encoding: Any) -> AnyTemplate:
        """Return the template, whether it was given by name or written out; of `chat`, the tokenizer's.

        Raises:
            ConfigError: if the tokenizer comes with none.
        """
        if isinstance(self.template, Template):
            return self.template
        if self.template != "chat":
            return TEMPLATES[self.template]
        if not (jinja := getattr(encoding, "chat_template", None)):
            raise ConfigError(
                "prompt.template=chat: the model was not taught to talk, its tokenizer has no chat template; choose an "
                "instruct model, or prompt.template=alpaca"
            )
        return ChatTemplate(jinja=jinja, variables=encoding.variables, system=self.system)

    def text(self, instruction: str, input: str = "", history: Sequence[Message] = ()) -> str:
        """Return an entry as a judge reads it: by the template, in `chat` as the message or the turns that it is."""
        if history:
            return as_transcript([*history, {"role": "user", "content": as_message(instruction, input)}])
        plain = TEMPLATES.get(self.template) if isinstance(self.template, str) else self.template
        return plain.prompt(instruction, input) if plain else as_message(instruction, input)

    @property
    def name(self) -> str:
        """The template's name, or `own`."""
        return self.template if isinstance(self.template, str) else "own"

    @model_validator(mode="after")
    def _system_is_for_chat(self) -> Self:
        if self.system is not None and self.template != "chat":
            raise ValueError("system is for template=chat: leave it out, or write it into the template")
        return self
