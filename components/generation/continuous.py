"""Continuous batching: requests join and leave the batch that is being continued between two of its turns.

After Yu et al., "Orca: A Distributed Serving System for Transformer-Based Generative Models", 2022. A request does not
wait until those before it have come to their ends: its prompt is read while the others rest, and from then on it is a
row like any other of `components.generation.batched`. What it is answered does not depend on its neighbours, but for
rounding.
Shapes: B rows, V vocabulary.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from components.core.errors import GradusError
from components.generation.answers import MEMORY, row_bytes
from components.generation.batched import WORTH_KEEPING, Ends, Row, row_generator
from components.generation.cache import Reader
from components.generation.config import GenerationConfig
from components.generation.decoder import Decoder
from components.generation.sampling import next_tokens
from components.models.language_model import LanguageModel
from components.models.memory import freed_memory_kept
from components.models.tokenizer import Tokenizer, ends_of_text


class QueueFull(GradusError):
    """As many requests wait as may wait."""


class PromptTooLong(GradusError):
    """A prompt leaves no room in the context for what follows it."""


class Continuation(Row):
    """A prompt of a request, and what has been written after it: `tokens`, and why there are no more (`stopped`)."""

    def __init__(
        self,
        prompt: list[int],
        context: int,
        config: GenerationConfig,
        ends: Ends,
        generator: torch.Generator,
        told_of_turns: bool,
    ) -> None:
        super().__init__(prompt, context, config, generator)
        self.config, self.ends, self.told_of_turns = config, ends, told_of_turns
        self.given_up = False
        """Whether nobody waits for it any more."""
        self.error: Exception | None = None
        """What went wrong while it was continued."""

    @property
    def is_over(self) -> bool:
        """Whether there will be no more tokens."""
        return self.stopped is not None or self.given_up or self.error is not None


Report = Callable[[Sequence[Continuation], int], None]
"""Told after each turn, in the scheduler's thread, which rows have ended or have a new token and want to know it; and
how many rows took part."""


class RunningBatch:
    """Rows that are continued together, a token of each a turn."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.rows: list[Continuation] = []
        """Those that the reader holds; some of them may have ended."""
        self.reader: Reader | None = None
        """What has read them; None where there are none."""

    @property
    def going(self) -> list[int]:
        """The places of the rows that have not ended."""
        return [place for place, row in enumerate(self.rows) if not row.is_over]

    def turn(self, joining: Sequence[Continuation]) -> list[Continuation]:
        """Let rows join, have every row take a token, and return those that took one."""
        if joining:
            self._join(joining)
        taken = self._take()
        going = self.going
        if not going or self.reader is None:
            self.rows, self.reader = [], None
            return taken
        if len(going) <= WORTH_KEEPING * len(self.rows):
            self.reader.keep(going)
            self.rows = [self.rows[place] for place in going]
        self.reader.read(torch.tensor([row.last for row in self.rows], device=self.decoder.device))
        return taken

    def _join(self, joining: Sequence[Continuation]) -> None:
        new, going = Reader(self.decoder, [row.prompt for row in joining], share=False), self.going
        if self.reader is None or not going:
            self.reader = new
        else:
            self.reader.join(going, new)
        self.rows = [*(self.rows[place] for place in going), *joining]

    def _take(self) -> list[Continuation]:
        """Choose the next token of every row that has not ended: rows that are drawn alike together."""
        assert self.reader is not None
        alike: dict[tuple[object, ...], list[int]] = {}
        for place in self.going:
            config = self.rows[place].config
            alike.setdefault((config.temperature, config.top_k, config.top_p), []).append(place)
        for places in alike.values():
            rows = [self.rows[place] for place in places]
            logits = self.reader.logits if len(places) == len(self.rows) else self.reader.logits[places]
            chosen = next_tokens(logits, rows[0].config, [row.generator for row in rows]).tolist()
            for row, token in zip(rows, chosen, strict=True):
                row.take(token, row.ends)
        return [self.rows[place] for places in alike.values() for place in places]


class Scheduler:
    """Continues the prompts of requests, in a thread of its own: `most` of them at once, while others wait."""

    def __init__(
        self,
        model: LanguageModel,
        encoding: Tokenizer,
        precision: str,
        most: int,
        queue: int,
        report: Report,
    ) -> None:
        """Take a model that is where it computes, in `precision` (`fp32`, `bf16`).

        Args:
            model: the language model.
            encoding: its tokenizer.
            precision: the numbers that are multiplied.
            most: rows that are continued at once; fewer where their keys and values would take more than 2 GB.
            queue: rows that may wait for their turn.
            report: told of every turn.
        """
        self.encoding, self.precision, self.most, self.queue = encoding, precision, most, queue
        window = model.transformer.window
        self.context = min(model.transformer.size.context, window or model.transformer.size.context)
        """Tokens of a prompt with what follows it: a cache cannot look through a window that slides."""
        self._batch, self._report = RunningBatch(Decoder(model, precision)), report
        self._tokens = ends_of_text(encoding)
        self._waiting: deque[Continuation] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="continuous batching", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many rows wait for their turn."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many rows are being continued."""
        return len(self._batch.going)

    @property
    def is_alive(self) -> bool:
        """Whether it still works."""
        return self._thread.is_alive()

    def check(self, prompt: Sequence[int]) -> None:
        """Raise PromptTooLong if nothing can follow a prompt."""
        if len(prompt) >= self.context:
            raise PromptTooLong(
                f"the prompt has {len(prompt):,} tokens, and the model's context of {self.context:,} has to hold it "
                "and at least one more; shorten it"
            )

    def submit(
        self,
        prompts: Sequence[Sequence[int]],
        config: GenerationConfig,
        stops: Sequence[str] = (),
        told_of_turns: bool = False,
    ) -> list[Continuation]:
        """Queue a request's prompts, all or none; an empty one counts as one end-of-text token.

        The draws of prompt i are those of row i of `continue_prompts`.

        Raises:
            PromptTooLong: if one leaves no room for what follows it.
            QueueFull: if too many wait already.
        """
        for prompt in prompts:
            self.check(prompt)
        ends = Ends(self.encoding, self._tokens, [stop.encode() for stop in stops])
        device = self._batch.decoder.device
        rows = [
            Continuation(
                list(prompt) or [self._tokens[0]], self.context, config, ends,
                row_generator(config.seed, number, device), told_of_turns,
            )
            for number, prompt in enumerate(prompts)
        ]  # fmt: skip
        with self._changed:
            if len(self._waiting) + len(rows) > self.queue + max(self.most - self.running, 0):
                raise QueueFull(f"{len(self._waiting):,} prompts wait already, as many as may; try again later")
            self._waiting.extend(rows)
            self._changed.notify()
        return rows

    def give_up(self, rows: Sequence[Continuation]) -> None:
        """Free the places of rows that nobody waits for any more."""
        for row in rows:
            row.given_up = True

    def close(self) -> None:
        """End the thread after the turn that it is at; what runs or waits is given up."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._wait():
            with freed_memory_kept():
                while not self._closed and (self._waiting or self._batch.rows):
                    self._turn()

    def _wait(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting)
            return not self._closed

    def _turn(self) -> None:
        joining = self._admitted()
        if not joining and not self._batch.rows:
            return
        with self._failures_told(joining):
            taken = self._batch.turn(joining)
            self._report([row for row in taken if row.told_of_turns or row.is_over], len(taken))

    @contextmanager
    def _failures_told(self, joining: Sequence[Continuation]) -> Iterator[None]:
        """Have the rows of a turn that fails say so, and go on with others: out of memory is no reason to end."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            rows = dict.fromkeys([*self._batch.rows, *joining])
            self._batch = RunningBatch(self._batch.decoder)
            for row in rows:
                row.error = error
            self._report(list(rows), 0)

    def _admitted(self) -> list[Continuation]:
        """Take from those that wait as many as there is room for, first come, first served."""
        rows = [self._batch.rows[place] for place in self._batch.going]
        joining: list[Continuation] = []
        with self._changed:
            while self._waiting:
                row = self._waiting[0]
                if not row.is_over:
                    if rows and not self._fits([*rows, row]):
                        break
                    rows.append(row)
                    joining.append(row)
                self._waiting.popleft()
        return joining

    def _fits(self, rows: Sequence[Continuation]) -> bool:
        longest = max(rows, key=lambda row: len(row.prompt) + row.most)
        size = self._batch.decoder.size
        each = row_bytes(size, len(longest.prompt), longest.config, self.precision)
        return len(rows) <= self.most and len(rows) * each <= MEMORY
