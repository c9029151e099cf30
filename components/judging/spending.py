"""What a judge costs: requests and tokens, counted as they are spent, and kept below limits."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from components.core.errors import JudgeError
from components.judging.config import JudgeConfig
from components.judging.prompt_cuts import fewest_tokens
from components.judging.replies import Reply
from components.judging.rubric import Messages

BYTES_PER_TOKEN = 4
"""Of English prose, about. What no server has counted is estimated by it."""
REPLY_TOKENS = 60
"""Of a verdict, about: a score and a sentence, as JSON."""
MILLION = 1_000_000
MOMENT = 0.1
"""Seconds after which one who waits for others' replies looks whether the judging has been stopped."""


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has."""
    # A reply that was cut off may end in half of a character.
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


class LimitReached(JudgeError):
    """A judging may not spend more, or would have to; a higher limit goes on from what was judged."""


@dataclass(frozen=True)
class Usage:
    """What some requests took."""

    requests: int = 0
    """Those that were sent, also if they failed."""
    tokens_in: int = 0
    tokens_out: int = 0
    estimated: int = 0
    """Replies of which the server has not counted all tokens, so that some are estimated."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.requests + other.requests,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.estimated + other.estimated,
        )

    @property
    def tokens(self) -> int:
        """Tokens of prompts and replies."""
        return self.tokens_in + self.tokens_out

    def cost(self, config: JudgeConfig) -> float | None:
        """Return what it costs at the config's prices; None where it has none."""
        if config.price_in is None and config.price_out is None:
            return None
        return (self.tokens_in * (config.price_in or 0) + self.tokens_out * (config.price_out or 0)) / MILLION

    def described(self, config: JudgeConfig) -> str:
        """Say what it is: requests, tokens, and money if there are prices."""
        cost = self.cost(config)
        money = "" if cost is None else f", {cost:,.4f} at judge.price_in and judge.price_out"
        return f"{self.requests:,} requests, {self.tokens_in:,} tokens in, {self.tokens_out:,} tokens out{money}"

    def counted(self) -> str:
        """Say who has counted the tokens."""
        if not self.estimated:
            return "as the server counts"
        return f"estimated for {self.estimated:,} replies that the server has not counted"


def usage_of_reply(messages: Messages, reply: Reply) -> Usage:
    """Return the tokens of a reply and what was asked, as the server has counted them, or by estimate."""
    asked, said = reply.prompt_tokens, reply.completion_tokens
    return Usage(
        tokens_in=_estimate(messages) if asked is None else asked,
        tokens_out=estimate_tokens(reply.content + reply.thinking) if said is None else said,
        estimated=int(asked is None or said is None),
    )


def least_usage(questions: Iterable[str]) -> Usage:
    """Return what questions take at least: a request each, no fewer tokens than words, and one of the reply.

    Without the rubric around them, which servers that keep it from the request before do not count.
    """
    counts = [fewest_tokens(question) for question in questions]
    return Usage(len(counts), sum(counts), len(counts))


def refuse_beyond_limits(least: Usage, config: JudgeConfig) -> None:
    """Raise LimitReached if what a judging takes at least is more than its limits allow."""
    for key, needed, limit in (
        ("max_requests", least.requests, config.max_requests),
        ("max_tokens_total", least.tokens, config.max_tokens_total),
    ):
        if limit is not None and needed > limit:
            what = "requests" if key == "max_requests" else "tokens"
            raise LimitReached(
                f"judge.{key}={limit} allows fewer {what} than the judging takes, {needed:,} at least; nothing was "
                f"asked: raise judge.{key}, or judge less (judge.also, judge.repeats, fewer test rows)"
            )


class Spending:
    """Counts what a judging spends, from any thread, and stops it before a limit is exceeded."""

    def __init__(self, config: JudgeConfig, stop: threading.Event) -> None:
        self.total = Usage()
        self._config, self._stop = config, stop
        self._reserved = self._largest = 0
        """Tokens that requests under way may take, and the most that one took."""
        self._changed = threading.Condition()
        self._own = threading.local()

    def send(self) -> None:
        """Count a request that is about to be sent.

        Raises:
            LimitReached: if it would be one too many.
        """
        with self._changed:
            limit = self._config.max_requests
            if limit is not None and self.total.requests >= limit:
                raise self._reached("max_requests", limit)
            self._add(Usage(requests=1))

    @contextmanager
    def reserved(self, messages: Messages) -> Iterator[None]:
        """Set tokens aside for a request, as many as it may take; wait for others' replies where that decides.

        Raises:
            LimitReached: if there are not as many left.
        """
        tokens = self._reserve(_estimate(messages) + REPLY_TOKENS)
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= tokens
                self._changed.notify_all()

    def add(self, usage: Usage) -> None:
        """Count the tokens of a reply."""
        with self._changed:
            self._largest = max(self._largest, usage.tokens)
            self._add(usage)

    def taken(self) -> Usage:
        """Return what the requests of this thread took since it last asked."""
        usage: Usage = getattr(self._own, "usage", Usage())
        self._own.usage = Usage()
        return usage

    def _add(self, usage: Usage) -> None:
        self.total += usage
        self._own.usage = getattr(self._own, "usage", Usage()) + usage

    def _reserve(self, tokens: int) -> int:
        limit = self._config.max_tokens_total
        with self._changed:
            tokens = max(tokens, self._largest)
            while limit is not None and self.total.tokens + self._reserved + tokens > limit:
                if not self._reserved or self._stop.is_set():
                    raise self._reached("max_tokens_total", limit)
                self._changed.wait(MOMENT)
            self._reserved += tokens
        return tokens

    def _reached(self, key: str, limit: int) -> LimitReached:
        return LimitReached(
            f"the judging may not go on: the next request would exceed judge.{key}={limit} "
            f"(spent: {self.total.described(self._config)}, {self.total.counted()}); raise judge.{key} and run again, "
            "which goes on from there"
        )


def _estimate(messages: Messages) -> int:
    return sum(estimate_tokens(message["content"]) for message in messages)
