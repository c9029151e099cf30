"""The rubric: the instructions of a judge, and how what it grades is quoted."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from components.core.records import fingerprint

RUBRIC = Path(__file__).with_name("rubric.yaml")
"""What a judge is told that grades responses."""
PAIRWISE = RUBRIC.with_name("pairwise.yaml")
"""What a judge is told that says which of two responses is better."""

Messages = list[dict[str, str]]
"""What a chat request carries: role and content of each message."""

CONTROL = re.compile(r"<|\[(?=/?[A-Z_]+\])|[\x7f-\x9f\u2028\u2029]")
"""What quoted text could use to look like the end of the quotation, a turn of the chat (<|eot_id|>, [INST]), or a line
of its own."""


class Rubric(BaseModel):
    """A versioned rubric: the system message, the user's message around `{data}`, and the form of a reply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: int
    system: str
    user: str = Field(pattern=r"\{data\}")
    again: str
    json_schema: dict[str, Any] = Field(alias="schema")

    @property
    def digest(self) -> str:
        """SHA-256 of what the rubric says, comments aside."""
        return fingerprint(self.model_dump(by_alias=True))

    def question(self, data: dict[str, str]) -> str:
        """Return the user's message about quoted `data`."""
        return self.user.replace("{data}", quoted(data)).rstrip()

    def messages(self, question: str, again: bool = False) -> Messages:
        """Return the messages of a request; `again` after a reply that could not be read.

        At temperature 0 another seed changes nothing, so the second request has to say something else.
        """
        content = f"{question}\n\n{self.again.rstrip()}" if again else question
        return [{"role": "system", "content": self.system.rstrip()}, {"role": "user", "content": content}]


def folded(messages: Messages) -> Messages:
    """Return messages with the system's put before the user's, for servers that know no system role."""
    return [{"role": "user", "content": "\n\n".join(message["content"] for message in messages)}]


def quoted(data: dict[str, str]) -> str:
    r"""Return texts as one JSON object that nothing in them can end or leave.

    JSON escapes quotation marks and line breaks. Beyond that every `<`, and every `[` of a capitalised tag, becomes a
    \u escape, which means the same to a reader of JSON: servers turn `<|eot_id|>` within a message into the control
    token of that name, with which a response could end its message and begin another.
    """
    # What json.dumps(data, ensure_ascii=False, indent=1) returns, which is slow and leaves cycles to be collected.
    encode = json.JSONEncoder(ensure_ascii=False).encode
    text = "{\n" + ",\n".join(f" {encode(name)}: {encode(value)}" for name, value in data.items()) + "\n}"
    return CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


@cache
def shipped_rubric(path: Path = RUBRIC) -> Rubric:
    """Return a rubric that Gradus ships."""
    return Rubric.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
