"""Continuing 110 different prompts greedily, by 64 and by 256 tokens each.

The prompts are the test split of the tutorial's `instruction-data.json` (entries 936 to 1,045 of the file), written in
the Alpaca format. The network has 124M parameters, random and the same for all programs. Nobody stops early: no text is
a stop, and a run in which a row writes fewer tokens fails.

Ours is `components.generation.answers.answer`, which `gradus respond` and a served model call, from texts to texts with
its defaults but for the number of tokens and the precision: bf16 where the machine multiplies in it, and fp32 in any
case; converting the weights is part of the time. `transformers` is `GPT2LMHeadModel.generate` with its cache, for bf16
a model in bf16; prompts are sorted by length and padded on the
left, in the batch size that was fastest of a few. The tutorial is `llms_from_scratch.ch05.generate`, in fp32 as it
stands: one prompt after the other and no cache; two prompts are timed, a long and a short one, and scaled to all.
Programs run in turn in one process, warmed up. The tokens of the fp32 runs are compared one by one.
"""

import json
import time
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import tiktoken
import torch
from torch import nn

from benchmarks.report import Benchmark, Figure, times_faster
from benchmarks.subject import Precision, Subject, device, gpt2, precision, settle, targets
from benchmarks.tutorial_network import tutorial_network
from components.conversations import Entry
from components.core.home import mirror
from components.generation.answers import answer, make_prompts
from components.generation.batched import continue_prompts
from components.generation.config import GenerationConfig
from components.generation.decoder import Decoder, Weights
from components.models.language_model import LanguageModel
from components.models.padding import pad
from components.prompts import Template

Result = TypeVar("Result")
Rows = list[list[int]]

DATA = "instruction-data.json"
SPLIT = slice(935, 1045)
SHORT, LONG = 64, 256
SIZES = (28, 55, 110)
"""Batch sizes that `transformers` is tried with, for `TRIED` tokens."""
TRIED = 8
NO_TOKEN = -1
TUTORIAL = (10, 99)
"""Which prompts, in order of length, the tutorial continues."""


def measure() -> Benchmark:
    """Measure row 5 of the performance targets: generation, against `transformers` and against the tutorial."""
    task = Task(gpt2())
    quick = precision()
    peers = {each: task.subject.peer(each).eval() for each in {quick, "fp32"}}
    size, tried = best_size(task, peers[quick])
    for each in peers:
        task.answer(2, each)  # warm up
    both = partial(in_turn, task, peers, size)
    short, short_peer, _ = both(SHORT, quick, ours=3, theirs=3)
    long, long_peer, _ = both(LONG, quick, ours=2, theirs=1)
    exact, exact_peer, written = both(SHORT, "fp32", ours=2, theirs=1)
    tutorial = tutorial_seconds(task)
    equal, whole = compare(task.tokens(SHORT), written)
    figures = [
        times_faster(f"64 tokens, {quick}, against transformers", short, short_peer, *targets((2.2, 3))),
        times_faster(f"256 tokens, {quick}, against transformers", long, long_peer * len(long), *targets((2.8, 4))),
        times_faster("64 tokens, fp32, against transformers", exact, exact_peer * len(exact), must=3, aim=5),
        Figure("tokens equal to those of transformers, fp32", [equal], must=100, unit="%", more_is_better=True),
        times_faster(
            f"64 tokens, ours in {quick}, against the tutorial", short, [tutorial] * len(short), *targets((150, 300))
        ),
        Figure(f"64 tokens, {quick}: ours", short),
        Figure(f"64 tokens, {quick}: transformers", short_peer),
        Figure(f"256 tokens, {quick}: ours", long),
        Figure(f"256 tokens, {quick}: transformers", long_peer),
        Figure("64 tokens, fp32: ours", exact),
        Figure("64 tokens, fp32: transformers", exact_peer),
        Figure("64 tokens: the tutorial, scaled", [tutorial]),
    ]
    notes = [
        f"{torch.get_num_threads()} threads; transformers continues {size} prompts at once: of batches of "
        + ", ".join(f"{each} ({taken:.1f} s)" for each, taken in tried.items())
        + f" that was the fastest with {TRIED} tokens",
        f"{whole} of {len(task.prompts)} rows are equal to those of transformers in every token, in fp32",
        f"the tutorial was timed with {len(TUTORIAL)} of the prompts, and scaled",
        "where one program ran more often than the other, ratios are to its one run",
    ]
    return Benchmark("generation", str(__doc__), figures, notes)


class Task:
    """What is to be continued, and ours to do it."""

    def __init__(self, subject: Subject) -> None:
        """Read the prompts.

        Raises:
            SystemExit: if the data are not there.
        """
        path = (mirror() or Path()) / DATA
        if not path.is_file():
            raise SystemExit(f"generation: there is no {path}: set GRADUS_MIRROR to a folder that holds {DATA}")
        entries = json.loads(path.read_text(encoding="utf-8"))[SPLIT]
        self.end, self.subject = subject.end, endless(subject)
        self.encoding, self.template = self.subject.encoding, self.subject.template
        self.entries = [Entry.of(entry) for entry in entries]
        prompts = make_prompts(self.template, self.encoding, self.entries)
        self.prompts = sorted((prompt.tokens for prompt in prompts), key=len, reverse=True)

    @cached_property
    def gpt(self) -> LanguageModel:
        """The network, made when it is first asked for."""
        return self.subject.ours().eval()

    def answer(self, new: int, numbers: Precision, weights: Weights = "copied") -> None:
        """Continue all prompts as the product does; weights that are `taken`, as a run's steps do, are there once."""
        config = GenerationConfig(max_new_tokens=new, precision=numbers)
        answers = answer(self.gpt, self.encoding, self.template, self.entries, config, weights=weights)
        check([each.new_tokens for each in answers], new)

    def tokens(self, new: int) -> Rows:
        """Return the tokens that follow each of `prompts` in fp32."""
        config = GenerationConfig(max_new_tokens=new)
        found = continue_prompts(Decoder(self.gpt, "fp32"), self.encoding, self.prompts, config)
        return [each.tokens for each in found]


def endless(subject: Subject) -> Subject:
    """Return a subject in which no text and no token ends a response."""
    encoding, template = copy(subject.encoding), subject.template
    if not isinstance(encoding, tiktoken.Encoding):
        encoding.ends = encoding.turn_ends = (NO_TOKEN,)
    if isinstance(template, Template):
        template = template.model_copy(update={"stop": []})
    return replace(subject, encoding=encoding, template=template)


def in_turn(
    task: Task, peers: dict[Precision, Any], size: int, new: int, numbers: Precision, ours: int, theirs: int
) -> tuple[list[float], list[float], Rows]:
    """Time both programs in turn, the one or the other more often; return what the other wrote, too."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(max(ours, theirs)):
        if turn < ours:
            times[0].append(timed(lambda: task.answer(new, numbers))[0])
        if turn < theirs:
            taken, written = timed(lambda: peer_tokens(task, peers[numbers], new, size))
            times[1].append(taken)
    return *times, written


def check(written: Sequence[int], new: int) -> None:
    """Refuse a run in which rows ended before their time, which would be too fast."""
    if set(written) != {new}:
        raise RuntimeError(f"a row wrote {min(written)} tokens instead of {new}")


def peer_tokens(task: Task, model: Any, new: int, size: int) -> Rows:
    """Let `transformers` continue all prompts, so many at once."""
    found = []
    for start in range(0, len(task.prompts), size):
        tokens, lengths = pad(task.prompts[start : start + size], task.end, left=True)
        mask = (torch.arange(tokens.shape[1]) >= (tokens.shape[1] - lengths)[:, None]).long().to(device())
        options = {"do_sample": False, "max_new_tokens": new, "pad_token_id": task.end, "eos_token_id": None}
        written = model.generate(tokens.to(device()), attention_mask=mask, **options)
        found += written[:, tokens.shape[1] :].tolist()
    check([len(each) for each in found], new)
    return found


def best_size(task: Task, model: Any) -> tuple[int, dict[int, float]]:
    """Return the batch size in which `transformers` is fastest, and the seconds that each took."""
    peer_tokens(task, model, 2, max(SIZES))  # warm up
    tried = {size: timed(lambda size=size: peer_tokens(task, model, TRIED, size))[0] for size in SIZES}  # type: ignore[misc]
    return min(tried, key=tried.__getitem__), tried


def tutorial_seconds(task: Task) -> float:
    """Return the seconds that the tutorial would take for all prompts."""
    from llms_from_scratch.ch05 import generate  # type: ignore[import-untyped]

    head = nn.Linear(0, 0, bias=False)
    head.weight = nn.Parameter(task.gpt.head.detach())
    head.out_features, head.in_features = head.weight.shape
    model = tutorial_network(task.gpt.transformer, head).to(device()).eval()
    context = task.gpt.transformer.size.context
    prompts = [torch.tensor([task.prompts[place]], device=device()) for place in TUTORIAL]
    generate(model, prompts[0], 1, context)  # warm up
    taken = sum(timed(lambda each=each: generate(model, each, SHORT, context))[0] for each in prompts)  # type: ignore[misc]
    return taken * len(task.prompts) / len(prompts)


def compare(ours: Rows, theirs: Rows) -> tuple[float, int]:
    """Return how many tokens in a hundred are equal, and how many whole rows."""
    rows = [[one == other for one, other in zip(*pair, strict=True)] for pair in zip(ours, theirs, strict=True)]
    return 100 * sum(map(sum, rows)) / sum(map(len, rows)), sum(map(all, rows))


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Return how many seconds something takes, and what comes of it."""
    settle()
    started = time.perf_counter()
    result = work()
    settle()
    return time.perf_counter() - started, result
