"""What clients may ask: the bodies of requests, read strictly.

A field that OpenAI's protocol does not know is refused, as OpenAI does. One that it knows and that would change the
answer in a way that is not done here is refused by name, unless its value asks for nothing; the rest is ignored.
"""

import asyncio
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from components.conversations import Message
from components.generation.config import GenerationConfig
from components.serving.http.errors import Refused, hung_up

IGNORED = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
    | {"parallel_tool_calls", "verbosity", "prediction", "top_logprobs"}
)
"""Fields that do not change what a model here answers."""
NEUTRAL: dict[str, tuple[object, ...]] = {
    "n": (1,), "best_of": (1,), "echo": (False,), "suffix": ("",), "logprobs": (False, 0), "logit_bias": ({},),
    "presence_penalty": (0,), "frequency_penalty": (0,), "tools": ([],), "tool_choice": ("none", "auto"),
    "functions": ([],), "function_call": ("none", "auto"), "response_format": ({"type": "text"},),
    "modalities": (["text"],), "audio": (), "web_search_options": (), "reasoning_effort": ("none",),
}  # fmt: skip
"""Fields that are not supported, each with the values that ask for nothing; null is one of all."""
MOST_STOPS = 4
"""As many texts to stop at as OpenAI takes."""
MOST_NUMBER = 2**31 - 1
"""The largest number that may be asked for."""

LARGEST_BODY = 16 << 20
"""Bytes of a request."""

TO_ARRIVE = 30
"""Seconds within which the body of a request has to be there."""
UNIONS = {"text": "a text, or a list of texts", "prompt": "a text or its tokens, or a list of texts or of their tokens"}
"""What fields are that may be of several kinds."""

Body = TypeVar("Body", bound=BaseModel)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Asked(BaseModel):
    """What all requests have."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    """The name of the model, as `/v1/models` has it."""


class StreamOptions(BaseModel):
    """What comes in a stream besides the text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool | None = None
    """Whether a last piece says how many tokens there were."""
    include_obfuscation: bool | None = None
    """Ignored: pieces are as long as their texts."""


class Written(Asked):
    """A request for a text."""

    max_tokens: int | None = Field(default=None, ge=1, le=MOST_NUMBER)
    """Most tokens of the answer."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """0 takes the likeliest token every time."""
    top_p: float | None = Field(default=None, ge=0, le=1)
    """Draw from the fewest tokens of this probability."""
    top_k: int | None = Field(default=None, ge=1, le=MOST_NUMBER)
    """Draw from the k likeliest tokens; not one of OpenAI's own fields."""
    seed: int | None = None
    """Seed of the draws."""
    stop: Annotated[list[Annotated[str, Field(min_length=1)]] | None, BeforeValidator(_as_list)] = Field(
        default=None, max_length=MOST_STOPS
    )
    """Texts at which the answer ends, before them."""
    stream: bool | None = None
    """Whether the answer comes piece by piece."""
    stream_options: StreamOptions | None = None
    """What comes in a stream besides the text."""

    @property
    def most(self) -> int | None:
        """Most tokens of the answer, if that was said."""
        return self.max_tokens

    def config(self, most: int, precision: str, seed: int) -> GenerationConfig:
        """Return how tokens are chosen; `most` and `seed` count where the request names none."""
        greedy = not self.temperature or self.top_p == 0
        return GenerationConfig(
            max_new_tokens=self.most or most,
            temperature=0.0 if greedy else self.temperature,
            top_p=None if greedy else self.top_p,
            top_k=None if greedy else self.top_k,
            seed=(seed if self.seed is None else self.seed) % 2**32,
            precision=precision,
        )


def _kind_of_content(value: Any) -> str:
    return "parts" if isinstance(value, list) else "text"


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]
    """No pictures and no sound."""
    text: str
    """What it says."""


class ChatMessage(BaseModel):
    """A turn of a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    """Whose turn it is; `developer` is a newer word for `system`."""
    content: Annotated[
        Annotated[str, Tag("text")] | Annotated[list[TextPart], Tag("parts")], Discriminator(_kind_of_content)
    ]
    """What was said."""
    name: str | None = None
    """Ignored: templates have no place for it."""
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None
    annotations: list[None] | None = Field(default=None, max_length=0)
    """What clients send back of an answer that they were given, and that is always empty here."""

    def message(self) -> Message:
        """Return the turn as templates take it."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": content}


class ChatRequest(Written):
    """A request for the next turn of a conversation."""

    messages: list[ChatMessage] = Field(min_length=1)
    """The turns so far; the last is the user's."""
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MOST_NUMBER)
    """The newer name of `max_tokens`."""

    @property
    def most(self) -> int | None:
        """Most tokens of the answer, if that was said."""
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(Written):
    """A request for what follows a text."""

    prompt: str | list[str] | list[int] | list[list[int]]
    """A text, or its tokens, or several of them, each of which gets an answer."""


class PredictRequest(BaseModel):
    """A request for the labels of texts."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str | list[str]
    """A text, or several."""
    model: str | None = None
    """The model's name, if the client wants it checked."""


async def read(request: Request, kind: type[Body]) -> Body:
    """Return what a request says.

    Raises:
        Refused: if it is too large, is not JSON, or says something that cannot be done.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(TO_ARRIVE):
            async for piece in request.stream():
                body += piece
                if len(body) > LARGEST_BODY:
                    raise Refused(413, f"the body is larger than {LARGEST_BODY >> 20} MB; ask in parts")
    except ClientDisconnect as error:
        raise hung_up() from error
    except TimeoutError as error:  # else a client that stalls would keep the server from ending
        raise Refused(408, f"the body has not arrived within {TO_ARRIVE} s") from error
    return parse(bytes(body), kind)


def parse(body: bytes, kind: type[Body]) -> Body:
    """Return what a request's body says.

    Raises:
        Refused: if it is not JSON, or says something that cannot be done.
    """
    try:
        tree = from_json(body)
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise Refused(400, "the body is JSON, but not an object")
    if issubclass(kind, Asked):
        tree = _without_unsupported(tree)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise _refusal(error) from error


def _without_unsupported(tree: dict[str, Any]) -> dict[str, Any]:
    for name in NEUTRAL.keys() & tree.keys():
        value = tree[name]
        if value is not None and value not in NEUTRAL[name]:
            raise Refused(400, f"{name} is not supported here: leave it out", "unsupported_parameter", name)
    return {name: value for name, value in tree.items() if name not in IGNORED and name not in NEUTRAL}


def _refusal(error: ValidationError) -> Refused:
    """Return the first thing that is wrong, in OpenAI's words where it has some."""
    first = error.errors(include_url=False, include_context=False)[0]
    names = [str(part) for part in first["loc"]]
    name = ".".join(names)
    if first["type"] == "extra_forbidden" and len(names) == 1:
        return Refused(400, f"Unrecognized request argument supplied: {name}", "unknown_parameter", name)
    if first["type"] == "missing" and name == "model":
        return Refused(400, "you must provide a model parameter", "missing_required_parameter", name)
    if names[0] in UNIONS and first["type"] != "missing":
        return Refused(400, f"{names[0]}: it should be {UNIONS[names[0]]}", "invalid_value", names[0])
    return Refused(400, f"{name}: {first['msg']}", "invalid_value", name)
