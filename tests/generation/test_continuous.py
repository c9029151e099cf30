"""Continuous batching: rows that come and go are answered as if each were alone, and their places are freed."""

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch

from components.generation.batched import Ends, continue_prompts, row_generator
from components.generation.cache import Reader
from components.generation.config import GenerationConfig
from components.generation.continuous import Continuation, PromptTooLong, QueueFull, RunningBatch, Scheduler
from components.generation.decoder import Decoder
from components.generation.kv_cache import STEP
from tests.generation.models import ENCODING, END, alone, assert_alike, network
from tests.patience import PATIENCE

TEXTS = ["see you at ten", "a", "", "you have won a prize, call now " * 2, "what", "the winner is", "now or never then"]
PROMPTS = [ENCODING.encode_ordinary(text)[:30] for text in TEXTS]
GPT = network()
Made = Callable[..., Scheduler]


def row(prompt: Sequence[int], most: int = 12, seed: int = 1, **options: float) -> Continuation:
    config = GenerationConfig(max_new_tokens=most, precision="fp32", seed=seed, **options)
    ends = Ends(ENCODING, (END,), [])
    return Continuation(list(prompt) or [END], 48, config, ends, row_generator(seed, 0, torch.device("cpu")), False)


@pytest.mark.ci
@pytest.mark.parametrize("arrivals", [[7], [1] * 7, [2, 0, 0, 3, 0, 1, 1], [1, 0, 0, 0, 0, 0, 6]])
def test_rows_that_come_when_others_are_under_way_are_answered_as_if_alone(arrivals: list[int]) -> None:
    batch, left = RunningBatch(Decoder(GPT, "fp32")), [row(prompt, 5 + 6 * n) for n, prompt in enumerate(PROMPTS)]
    rows, most = list(left), 0
    for count in [*arrivals, *([0] * 60)]:
        joining, left = left[:count], left[count:]
        if joining or batch.rows:
            most = max(most, len(batch.turn(joining)))
    assert most > 1
    for n, (each, prompt) in enumerate(zip(rows, PROMPTS, strict=True)):
        assert each.stopped in ("end", "length")
        assert_alike(GPT, prompt, each.tokens, alone(GPT, prompt, 5 + 6 * n))


@pytest.mark.ci
def test_the_cache_of_rows_that_come_and_go_stays_as_short_as_the_longest_row() -> None:
    batch = RunningBatch(Decoder(GPT, "fp32"))
    rows = [row(PROMPTS[n % 7], 9) for n in range(60)]
    for each in rows:
        batch.turn([each])
        if batch.reader:
            cache = batch.reader.caches[0]
            assert cache.values.shape[2] < 48 + STEP, "the context of 48, and what is left of a step"
            assert cache.values.shape[2] == cache.keys.shape[3] + cache.newest.shape[2]
    while batch.rows:
        batch.turn([])
    for each in rows:
        assert_alike(GPT, each.prompt, each.tokens, alone(GPT, each.prompt, 9))


def test_joined_readers_say_what_one_reader_of_all_rows_says() -> None:
    decoder = Decoder(GPT, "fp32")
    rows = [prompt or [END] for prompt in PROMPTS]
    joined = Reader(decoder, rows[:4], share=False)
    joined.read(torch.tensor([5, 6, 7, 8]))
    joined.join([1, 3], Reader(decoder, rows[4:], share=False))
    whole = Reader(decoder, [[*rows[1], 6], [*rows[3], 8], *rows[4:]])
    torch.testing.assert_close(joined.logits, whole.logits, atol=1e-4, rtol=1e-4)
    for token in range(40, 40 + 35):  # past the end of a block of columns, where there is room for it
        tokens = torch.full((5,), token)
        if int(joined.lengths.max()) < 48:
            torch.testing.assert_close(joined.read(tokens), whole.read(tokens), atol=1e-4, rtol=1e-4)


@pytest.fixture
def make() -> Iterator[Made]:
    made: list[Scheduler] = []

    def scheduler(**options: object) -> Scheduler:
        given = {"most": 4, "queue": 100, "report": lambda _rows, _taking_part: None, **options}
        made.append(Scheduler(GPT, ENCODING, "fp32", **given))  # type: ignore[arg-type]
        return made[-1]

    yield scheduler
    for each in made:
        each.close()


class Told:
    """What a scheduler tells, and a wait for rows to end."""

    def __init__(self) -> None:
        self.turns: list[int] = []
        self._ended = threading.Condition()

    def __call__(self, _rows: Sequence[Continuation], taking_part: int) -> None:
        with self._ended:
            self.turns.append(taking_part)
            self._ended.notify_all()

    def wait(self, rows: Sequence[Continuation]) -> None:
        with self._ended:
            assert self._ended.wait_for(lambda: all(each.is_over for each in rows), PATIENCE)


@pytest.mark.ci
def test_many_threads_are_answered_as_offline(make: Made) -> None:
    told = Told()
    scheduler, config = make(report=told), GenerationConfig(max_new_tokens=20, precision="fp32")
    found: dict[int, Continuation] = {}

    def ask(number: int) -> None:
        [found[number]] = scheduler.submit([PROMPTS[number % 7]], config)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.wait(list(found.values()))
    offline = continue_prompts(Decoder(GPT, "fp32"), ENCODING, PROMPTS, config)
    for number, each in found.items():
        assert_alike(GPT, each.prompt, each.tokens, offline[number % 7].tokens)
        assert each.stopped == offline[number % 7].stopped
    assert max(told.turns) == 4, "as many as go together"


def test_draws_do_not_depend_on_neighbours_and_stops_are_each_rows_own(make: Made) -> None:
    told = Told()
    scheduler = make(report=told)
    drawn = GenerationConfig(max_new_tokens=15, precision="fp32", temperature=1.3, top_k=40, seed=8)
    greedy = GenerationConfig(max_new_tokens=15, precision="fp32")
    text = ENCODING.decode(alone(GPT, PROMPTS[0], 15))
    rows = [
        *scheduler.submit(PROMPTS[:2], drawn),
        *scheduler.submit(PROMPTS[:1], greedy, stops=[text[4:7]]),
        *scheduler.submit(PROMPTS[3:6], greedy),
    ]
    told.wait(rows)
    offline = continue_prompts(Decoder(GPT, "fp32"), ENCODING, PROMPTS[:2], drawn)
    assert [each.tokens for each in rows[:2]] == [each.tokens for each in offline]
    assert rows[2].stopped == "marker"
    assert text[4:7] in ENCODING.decode(rows[2].tokens)
    assert len(rows[2].tokens) < 15


def test_who_hangs_up_frees_its_place(make: Made) -> None:
    told = Told()
    scheduler = make(report=told, most=1)
    config = GenerationConfig(max_new_tokens=2, precision="fp32")
    [first] = scheduler.submit(PROMPTS[:1], config)
    gone = scheduler.submit([*PROMPTS[:1]] * 5, GenerationConfig(max_new_tokens=40, precision="fp32"))
    scheduler.give_up(gone)
    [last] = scheduler.submit(PROMPTS[1:2], config)
    told.wait([first, last])
    assert [len(each.tokens) < 40 for each in gone] == [True] * 5
    assert (first.stopped, scheduler.waiting) == ("length", 0)


def test_what_cannot_be_taken_is_refused_with_the_numbers(make: Made) -> None:
    held = threading.Event()
    scheduler = make(most=1, queue=2, report=lambda _rows, _taking_part: held.wait(PATIENCE) and None)
    config = GenerationConfig(max_new_tokens=3, precision="fp32")
    try:
        with pytest.raises(PromptTooLong, match=r"60 tokens.* 48 "):
            scheduler.submit([[1] * 60], config)
        with pytest.raises(PromptTooLong, match="48"):
            scheduler.submit([[1] * 48], config)
        scheduler.submit(PROMPTS[:1], config)
        with pytest.raises(QueueFull, match="wait already"):
            scheduler.submit(PROMPTS[:4], config)
    finally:
        held.set()


def test_a_turn_that_fails_fails_its_rows_and_no_others(make: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    scheduler, config = make(report=told), GenerationConfig(max_new_tokens=3, precision="fp32")

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError("none left")

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "__init__", no_memory)
        failed = scheduler.submit(PROMPTS[:2], config)
        told.wait(failed)
    assert [type(each.error) for each in failed] == [MemoryError, MemoryError]
    well = scheduler.submit(PROMPTS[:2], config)
    told.wait(well)
    assert [each.error for each in well] == [None, None]
    assert scheduler.is_alive
