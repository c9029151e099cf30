"""Who judges responses, and how it is asked."""

import re
from typing import TYPE_CHECKING, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, JsonValue, field_validator, model_validator

from components.core.config import Config


class Server(NamedTuple):
    """What is known of a kind of server that language models judge on, beside how to speak to it."""

    client: str
    """The module and the class that speak to it: a `components.judging.clients.Client`, made of a config and an event
    that ends it."""
    name: str
    """What people call it."""
    url: str
    """Where it listens unless it is set up otherwise."""


SERVERS = {
    "ollama": Server("components.judging.ollama:Ollama", "Ollama", "http://localhost:11434"),
    "openai": Server("components.judging.openai:OpenAI", "OpenAI-compatible server", "http://localhost:8000"),
}
"""Kinds of judges that are language models, so a new one is a new row."""

if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[*SERVERS, "lexical"]

Also = Literal["start", "reference"]

Think = bool | Literal["low", "medium", "high"] | None

VARIABLE = re.compile(r"(?=[A-Z0-9_]{1,15}$|.*_)[A-Z_][A-Z0-9_]*")
"""The name of an environment variable as people write it; a long one has an underscore, and most keys have not."""
FIXED = {"model": "judge.model", "stream": "judge.stream", "messages": "the rubric"}
"""Fields of a request that `judge.extra` leaves alone, and what sets them."""

VARIED = 0.7
"""Temperature at which repeats differ, unless the config sets one."""


class JudgeConfig(Config):
    """Section `judge` of a preset: who gives responses a score, and how it is asked."""

    model_config = ConfigDict(hide_input_in_errors=True)  # a refused address may hold a password

    kind: Kind = "ollama"
    """`ollama`; `openai`, which is any server with `/v1/chat/completions`; or `lexical`, which compares texts (chrF)
    and needs no server. The lexical judge reads none of the settings below but `also`."""

    model: str = Field(default="llama3", min_length=1)
    """Name of the judge's model on its server."""

    url: str | None = None
    """Where the server is; without one, `http://localhost:11434` for `ollama` and `http://localhost:8000` for
    `openai`. A path is kept as it is, as in `https://host/v1beta/openai`; without one, `openai` adds `/v1`."""

    api_key_env: str | None = None
    """Name of the environment variable that holds the key which the server asks for, in capitals. Never the key."""

    also: tuple[Also, ...] = ("start", "reference")
    """What is judged besides the model's responses: the starting model's responses; the references themselves, and on
    20 rows another row's reference, without which nothing is promoted by this judge."""

    repeats: int = Field(default=1, ge=1, le=100)
    """How often each response is judged, repeat i with seed + i."""

    concurrency: int = Field(default=4, ge=1, le=256)
    """Requests under way at once. A few more than the server works on at once keep it busy: they wait there."""

    max_unparsed: float = Field(default=0.05, ge=0, le=1)
    """Largest share of verdicts that may be unreadable or refused, of the model's, the start's and the references'
    each. The judging ends as soon as there are more."""

    seed: int = Field(default=123, ge=0, lt=2**31 - 2000)
    """Seed of the judge's sampling."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature of the judge; without one, 0 for one repeat and 0.7 for more."""

    num_ctx: int = Field(default=2048, ge=512)
    """Smallest context that Ollama is asked for, in tokens; longer prompts raise it for the whole judging."""

    max_tokens: int = Field(default=256, ge=16)
    """Most tokens of a reply. One that is cut there is asked for again with 4 times as many, and then with 16."""

    think: Think = False
    """Whether a judge that can think does so before it answers, or how much: null, false, true, `low`, `medium`,
    `high`. `ollama` is told what stands here, and with null nothing; `openai` gets `reasoning_effort` for `low`,
    `medium` (or true) and `high`, and nothing for the rest. Thoughts count as tokens of the reply."""

    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """Fields of a request that are added or replaced, or with null left out, for servers that differ:
    `{max_completion_tokens: 300, max_tokens: null, seed: null}`. Those of Ollama's `options` are merged one by one."""

    timeout: float = Field(default=300, gt=0)
    """Seconds to wait for a connection, and then for each further piece of a reply."""

    attempts: int = Field(default=4, ge=1)
    """How often a request is sent before the judging gives up."""

    backoff: float = Field(default=1, gt=0)
    """Seconds before the second attempt; the wait doubles with each. What the server asks to wait comes on top; after a
    429 that names no time the waits add up to 60 times as much."""

    max_requests: int | None = Field(default=None, ge=1)
    """Most requests that one judging sends, failed ones too; verdicts that are kept from before need none. By default
    no limit. What surely needs more is refused before it starts; at the limit it stops, and what was judged is kept."""

    max_tokens_total: int | None = Field(default=None, ge=1)
    """Most tokens, of prompts and replies, that one judging takes, as the server counts them, or by estimate if it does
    not. By default no limit. It is kept as `max_requests` is."""

    price_in: float | None = Field(default=None, ge=0)
    """Price of a million tokens of prompts, in any currency, to show what a judging costs."""

    price_out: float | None = Field(default=None, ge=0)
    """Price of a million tokens of replies, thoughts among them."""

    stream: bool = False
    """Whether replies come in pieces. The verdicts are the same; the timeout then counts for each piece."""

    @property
    def is_language_model(self) -> bool:
        """Whether a language model judges."""
        return self.kind != "lexical"

    @property
    def server(self) -> str:
        """The server's address, without a slash at its end. The lexical judge has none."""
        return (self.url or SERVERS[self.kind].url).rstrip("/")

    @property
    def sampling_temperature(self) -> float:
        """The temperature that requests carry."""
        if self.temperature is not None:
            return self.temperature
        return VARIED if self.repeats > 1 else 0.0

    @field_validator("api_key_env")
    @classmethod
    def _check_name(cls, name: str | None) -> str | None:
        # Some keys would do as a variable's name, so that a variable which exists is known by its capitals.
        if name is not None and not VARIABLE.fullmatch(name):
            raise ValueError("it takes the name of an environment variable, such as OPENAI_API_KEY, and not the key")
        return name

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.repeats > 1 and self.temperature == 0:
            raise ValueError(
                "repeats at temperature 0 say the same again: set judge.temperature above 0, or judge.repeats=1"
            )
        if fixed := [name for name in FIXED if name in self.extra]:
            raise ValueError(f"extra holds {fixed[0]}, which is set by {FIXED[fixed[0]]}; take it out")
        return self

    @model_validator(mode="after")
    def _check_url(self) -> Self:
        # Not a field's validator, whose message would show what it refused.
        if self.url is None:
            return self
        try:
            address = urlsplit(self.url)
            _ = address.port
        except ValueError:
            raise ValueError("url is not an address; write it like http://localhost:11434") from None
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError("url must begin with http:// or https:// and name a server, like http://localhost:11434")
        if address.username is not None or address.password is not None:
            raise ValueError("url holds a user name or password: take it out, and name a variable in judge.api_key_env")
        if address.query or address.fragment:
            raise ValueError("url has a part after ? or #, which a server's address has not")
        return self
