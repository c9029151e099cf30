"""OpenAI's routes for a language model: `/v1/chat/completions` and `/v1/completions`, whole or piece by piece.

https://platform.openai.com/docs/api-reference/chat, https://platform.openai.com/docs/api-reference/completions
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from components.conversations import Entry
from components.core.errors import ConfigError
from components.generation.answers import make_prompts
from components.generation.config import GenerationConfig
from components.generation.continuous import Continuation, PromptTooLong, QueueFull, Scheduler
from components.generation.streams import TextStream
from components.models.devices import pick_precision
from components.models.saved.language_model import LoadedGPT
from components.models.tokenizer import encode_whole
from components.serving.http.app import check_name
from components.serving.http.errors import Refused, logged
from components.serving.http.hanging_up import unless_gone
from components.serving.http.metrics import Metrics
from components.serving.http.replies import CHAT, COMPLETION, Form, Reply
from components.serving.http.requests import ChatRequest, CompletionRequest, Written, read
from components.serving.language_model import DEFAULTS

SHORT = 16
"""Tokens of a completion whose request does not say how many, as OpenAI has it."""


class Stream(StreamingResponse):
    """Server-sent events, and what is done once they have ended or the client has hung up, even before the first."""

    def __init__(self, events: AsyncIterator[str], end: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()


class ServedLanguageModel:
    """A language model that is served."""

    def __init__(self, loaded: LoadedGPT, name: str, precision: str, most: int, queue: int, metrics: Metrics) -> None:
        """Take a model that is where it computes; `most` prompts go on at once, and `queue` may wait."""
        self.name = name
        self._encoding, self._template = loaded.encoding, loaded.card.template
        self._precision = pick_precision(precision, loaded.model.head.device)
        self._metrics = metrics
        self._news: dict[Continuation, asyncio.Event] = {}
        """What tells each row's request that there is something new."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduler = Scheduler(loaded.model, loaded.encoding, self._precision, most, queue, self._report)
        metrics.watch_queue(lambda: self._scheduler.waiting)
        self.router = APIRouter()
        self.router.add_api_route("/v1/chat/completions", self.chat, methods=["POST"], response_model=None)
        self.router.add_api_route("/v1/completions", self.complete, methods=["POST"], response_model=None)

    @property
    def is_alive(self) -> bool:
        """Whether it still answers."""
        return self._scheduler.is_alive

    def close(self) -> None:
        """End what continues prompts."""
        self._scheduler.close()

    async def chat(self, request: Request) -> Response:
        """Answer a conversation, in the words of the template that the model was trained with."""
        asked = await read(request, ChatRequest)
        check_name(self.name, asked.model)
        turns = [message.message() for message in asked.messages]
        if turns[-1]["role"] != "user":
            raise Refused(400, "the last message must be the user's, which is what is answered", None, "messages")
        try:
            entry = Entry(turns[-1]["content"], "", turns[:-1])
            [prompt] = make_prompts(self._template, self._encoding, [entry])
        except ConfigError as error:
            raise Refused(400, str(error).removeprefix("prompt.template: "), "invalid_messages", "messages") from error
        return await self._answer(request, asked, CHAT, [prompt.tokens], self._template.stops)

    async def complete(self, request: Request) -> Response:
        """Go on with a text, or with each of several, as it stands."""
        asked = await read(request, CompletionRequest)
        check_name(self.name, asked.model)
        prompts = self._encoded(asked.prompt)
        return await self._answer(request, asked, COMPLETION, prompts, ())

    def _encoded(self, prompt: str | list[str] | list[int] | list[list[int]]) -> list[list[int]]:
        """Return the tokens of a request's prompts."""
        if isinstance(prompt, str):
            return encode_whole(self._encoding, [prompt])
        if not prompt:
            raise Refused(400, "prompt: there is none", "invalid_value", "prompt")
        several = [prompt] if isinstance(prompt[0], int) else prompt
        texts = [each for each in several if isinstance(each, str)]
        rows = encode_whole(self._encoding, texts) if texts else [list(map(int, each)) for each in several]
        known = self._encoding.n_vocab
        if wrong := [token for row in rows for token in row if not 0 <= token < known]:
            raise Refused(
                400, f"prompt: there is no token {wrong[0]}, only 0 to {known - 1}", "invalid_value", "prompt"
            )
        return rows

    async def _answer(
        self, request: Request, asked: Written, form: Form, prompts: list[list[int]], stops: Sequence[str]
    ) -> Response:
        default = DEFAULTS.max_new_tokens if form is CHAT else SHORT
        config = asked.config(default, self._precision, secrets.randbits(32))
        stops = (*stops, *(asked.stop or ()))
        if len(prompts) > (most := self._scheduler.queue + self._scheduler.most):
            told = f"{form.param}: {len(prompts):,} prompts at once, of {most:,} at most; ask in parts"
            raise Refused(400, told, "invalid_value", form.param)
        try:
            rows = self._submit(prompts, config, stops, bool(asked.stream))
        except PromptTooLong as error:
            raise Refused(400, str(error), "context_length_exceeded", form.param) from error
        except QueueFull as error:
            raise Refused(429, str(error), "queue_full", retry_after=1) from error
        streams = [TextStream(self._encoding, stops, strip=form is CHAT) for _ in rows]
        reply = Reply(form, self.name, rows)
        if asked.stream:
            options = asked.stream_options
            events = self._events(reply, rows, streams, bool(options and options.include_usage))
            return Stream(events, partial(self._forget, rows))
        try:
            await unless_gone(request, asyncio.ensure_future(self._until_over(rows)))
        finally:
            self._forget(rows)
        texts = [stream.add(row.tokens) + stream.finish() for stream, row in zip(streams, rows, strict=True)]
        return JSONResponse(reply.whole(texts))

    def _submit(
        self, prompts: list[list[int]], config: GenerationConfig, stops: Sequence[str], streamed: bool
    ) -> list[Continuation]:
        self._loop = asyncio.get_running_loop()
        rows = self._scheduler.submit(prompts, config, stops, streamed)
        # Within one step of the loop, so before anything is told of them.
        self._news |= {row: asyncio.Event() for row in rows}
        return rows

    def _forget(self, rows: Sequence[Continuation]) -> None:
        """Count what was done, and give up what was not, since nobody waits any more."""
        self._scheduler.give_up([row for row in rows if not row.is_over])
        for row in rows:
            self._news.pop(row, None)
            self._metrics.tokens.labels("prompt").inc(len(row.prompt))
            self._metrics.tokens.labels("completion").inc(len(row.tokens))

    def _report(self, rows: Sequence[Continuation], taking_part: int) -> None:
        """Tell the requests' side of a turn; called in the scheduler's thread."""
        self._metrics.batch.observe(taking_part)
        if rows and self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, rows)

    def _tell(self, rows: Sequence[Continuation]) -> None:
        for row in rows:
            if event := self._news.get(row):
                event.set()

    async def _until_over(self, rows: Sequence[Continuation]) -> None:
        for row in rows:
            while not row.is_over:
                await self._new(row)
            if row.error:
                raise logged(row.error) from row.error

    async def _new(self, row: Continuation) -> None:
        """Wait for a row's next token, or its end."""
        event = self._news[row]
        await event.wait()
        event.clear()

    async def _events(
        self, reply: Reply, rows: list[Continuation], streams: list[TextStream], with_usage: bool
    ) -> AsyncIterator[str]:
        """Yield the pieces of an answer as server-sent events, one prompt's after the other's."""
        try:
            for place, (row, stream) in enumerate(zip(rows, streams, strict=True)):
                yield reply.first(place, with_usage)
                async for piece in self._pieces(row, stream):
                    yield reply.piece(place, piece, with_usage)
                yield reply.last(place, with_usage)
            if with_usage:
                yield reply.usage_alone()
            yield reply.done()
        except Refused as refused:
            yield reply.error(refused)

    async def _pieces(self, row: Continuation, stream: TextStream) -> AsyncIterator[str]:
        done = 0
        while True:
            over, tokens = row.is_over, row.tokens[done:]  # in this order: a row that is over gets no more tokens
            done += len(tokens)
            if piece := stream.add(tokens):
                yield piece
            if row.error:
                raise logged(row.error) from row.error
            if over:
                break
            await self._new(row)
        if piece := stream.finish():
            yield piece
