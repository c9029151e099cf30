"""The template of a model that was taught to talk: from the turns of a conversation to a text."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from components.conversations import Entry, Message, as_message
from components.core.config import Config
from components.core.errors import ConfigError

SpecialIn = Callable[[str, int], tuple[int, int] | None]
"""Finds where the next name of a special token in a text begins and ends, from some place on; None if there is none."""

ASKING = {"system": "the system message (prompt.system, or that of the data)", "user": "what a user says"}
"""By role, what a template has to write."""


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

    stops: ClassVar[tuple[str, ...]] = ()

    def prompt(self, instruction: str, input: str = "", history: Sequence[Message] = ()) -> str:
        """Return everything up to the response: a system message if there is one, the turns before, the entry, a turn.

        Raises:
            ConfigError: as `render`.
        """
        return self.render(self.messages(Entry(instruction, input, history)))

    def messages(self, entry: Entry) -> list[Message]:
        """Return the turns of an entry. A system message of its own goes before that of the template."""
        own = bool(entry.history) and entry.history[0]["role"] == "system"
        system = [{"role": "system", "content": self.system}] if self.system is not None and not own else []
        return [*system, *entry.history, {"role": "user", "content": as_message(entry.instruction, entry.input)}]

    def parts(self, messages: Sequence[Message], special: SpecialIn) -> list[str]:
        """Return what `render` does, cut where the assistant begins and ends: what is read, what it says, and so on.

        An answer ends with the token that ends its turn. The last part, after which it answers next, is read.

        Args:
            messages: the turns, the last one the user's; no name of a special token stands in them as such.
            special: finds the special token that ends a turn.

        Raises:
            ConfigError: if the template writes a turn otherwise once others follow, or does not end it by a token, so
                that what is learnt would not be what is asked for later.
        """
        whole, found, done = self.render(messages), list[str](), 0
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.render(messages[:place])
            if not whole.startswith(before):
                raise _unlearnable(f"writes what stands before turn {place + 1} otherwise once more turns follow")
            if not (ends := special(whole, len(before))):
                raise _unlearnable("does not end the assistant's turns by a special token")
            said = whole[len(before) : (end := ends[1])]
            if message["content"].strip() not in said:
                raise _unlearnable(f"leaves out or rewrites what the assistant says in turn {place + 1}")
            found += [whole[done : len(before)], said]
            done = end
        return [*found, whole[done:]]

    def answer(self, output: str, special: SpecialIn) -> str:
        """Return what follows the prompt up to the token that ends the turn: blanks as the template writes them.

        It is `output` as it is where the template writes a turn otherwise than it asks for it, cannot write one that
        nothing follows, or does not end it by a special token.
        """
        asked = self.messages(Entry("?", ""))
        try:
            prompt = self.render(asked)
            whole = self.render([*asked, {"role": "assistant", "content": output}], turn=False)
        except ConfigError:  # what is wrong with a prompt is said where it is made
            return output
        ends = special(whole, len(prompt)) if whole.startswith(prompt) else None
        said = whole[len(prompt) : ends[0]] if ends else ""
        return said if output.strip() in said else output

    def clean(self, text: str) -> str:
        """Return a generated text without blanks around it."""
        return text.strip()

    def render(self, messages: Sequence[Mapping[str, str]], turn: bool = True) -> str:
        """Return messages written out, and after them, if asked for, what an assistant's turn begins with.

        Raises:
            ConfigError: if that fails, gives nothing, or leaves out a system message or what a user says.
        """
        import jinja2

        from components.chat_sandbox import render

        values: dict[str, Any] = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": turn}
        try:
            text = render(self.jinja, {**self.variables, **values})
        except Exception as error:
            where = f" (line {error.lineno})" if isinstance(error, jinja2.TemplateSyntaxError) else ""
            why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".") + where
            raise ConfigError(
                f"prompt.template: the model's chat template cannot be rendered: {why}; write a template of your own"
            ) from error
        if not text.strip():
            raise ConfigError("prompt.template: the model's chat template writes nothing; write one of your own")
        for each in messages:
            if each["role"] in ASKING and not _says(text, each["content"].strip()):
                raise ConfigError(
                    f"prompt.template: the model's chat template leaves out or rewrites {ASKING[each['role']]}; write "
                    "one of your own"
                )
        return text


def _says(text: str, content: str) -> bool:
    """Tell whether a text holds what somebody said, be it as a string in JSON."""
    return content in text or any(json.dumps(content, ensure_ascii=each)[1:-1] in text for each in (True, False))


def _unlearnable(fault: str) -> ConfigError:
    return ConfigError(
        f"prompt.template: the model's chat template {fault}, so earlier answers cannot be learnt as they will be "
        "asked for; set train.learn=last to learn the last answer only"
    )
