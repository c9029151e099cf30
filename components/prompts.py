"""How an entry is written out for a language model: in one place, for training, generation, judging and serving."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from components.core.config import Config
from components.core.errors import ConfigError
from components.core.templates import Template as Slots

if TYPE_CHECKING:
    import jinja2


class Template(Config):
    """The text of an entry, in three parts, each with a slot for one of its fields; `{{` and `}}` stand for a brace."""

    instruction: str
    """What an entry begins with; holds `{instruction}`."""

    input: str
    """What follows where an entry has an input, and is left out where it has none; holds `{input}`."""

    response: str
    """What comes next; holds `{output}`. The prompt ends before it. Blanks right before it are the response's own, so
    that a word begins with the blank that byte-pair vocabularies give it; what stands after it ends every response."""

    has_special_tokens: ClassVar[bool] = False
    """Whether what is written out holds names of special tokens."""

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


class ChatTemplate(Config):
    """The template of a model that was taught to talk: its own, in Jinja, which writes out messages of roles.

    https://huggingface.co/docs/transformers/chat_templating
    """

    jinja: str
    """The template."""

    variables: dict[str, str] = Field(default_factory=dict)
    """What it may use besides messages, such as `bos_token`."""

    system: str | None = None
    """What stands in a system message before each entry; null leaves that to the template."""

    has_special_tokens: ClassVar[bool] = True
    stops: ClassVar[tuple[str, ...]] = ()

    def prompt(self, instruction: str, input: str = "") -> str:
        """Return everything up to the response: a system message if there is one, the entry as a user's, and a turn.

        Raises:
            ConfigError: if the template cannot be rendered, or renders nothing.
        """
        system = [{"role": "system", "content": self.system}] if self.system is not None else []
        return self.render([*system, {"role": "user", "content": as_message(instruction, input)}])

    def completion(self, output: str) -> str:
        """Return what follows the prompt; the token that ends a turn is added where tokens are."""
        return output

    def clean(self, text: str) -> str:
        """Return a generated text without blanks around it."""
        return text.strip()

    def render(self, messages: Sequence[Mapping[str, str]], turn: bool = True) -> str:
        """Return messages written out, and after them, if asked for, what an assistant's turn begins with.

        Raises:
            ConfigError: if that fails, or gives nothing.
        """
        import jinja2

        values: dict[str, Any] = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": turn}
        try:
            text = _compiled(self.jinja).render(**self.variables, **values)
        except Exception as error:
            where = f" (line {error.lineno})" if isinstance(error, jinja2.TemplateSyntaxError) else ""
            why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".") + where
            raise ConfigError(
                f"prompt.template: the model's chat template cannot be rendered: {why}; write a template of your own"
            ) from error
        if not text.strip():
            raise ConfigError("prompt.template: the model's chat template writes nothing; write one of your own")
        return text


AnyTemplate = Template | ChatTemplate


def as_message(instruction: str, input: str = "") -> str:
    """Return an entry as one message."""
    return f"{instruction}\n\n{input}" if input else instruction


@lru_cache(maxsize=8)
def _compiled(source: str) -> "jinja2.Template":
    """Return a template that can do nothing but write, as `transformers` compiles it."""
    import jinja2
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}`, with which some templates mark what an assistant says."""

        tags = {"generation"}  # noqa: RUF012 - as its base has it

        def parse(self, parser: Any) -> list[Any]:
            next(parser.stream)
            return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = _now
    environment.filters["tojson"] = _json
    return environment.from_string(source)


def _now(form: str) -> str:
    from datetime import datetime

    return datetime.now().strftime(form)


def _json(value: Any, **options: Any) -> str:
    import json

    return json.dumps(value, **{"ensure_ascii": False, **options})


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
    """With `chat`: what stands in a system message before each entry; null leaves that to the template."""

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

    def text(self, instruction: str, input: str = "") -> str:
        """Return an entry as a judge reads it: by the template, or in `chat` as the message that it is."""
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
