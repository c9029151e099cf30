"""Instruction fine-tuning: examples a second, 124M, all layers, batch 8, on the tutorial's 1,100 entries.

Ours is `components.training`'s own trainer with preset `instruct`'s batches (rows of like length together), in bf16
where the machine multiplies in it, else fp32, but for two things: it learns every token, prompt included, as the peers
do, and it is not evaluated, as they are not. `transformers` is `GPT2LMHeadModel` without dropout in the same precision,
with fused AdamW, on the very same batches. The tutorial's is its own network of chapter 4 in fp32, on batches as its
loader makes them (rows as they come, padded to the longest by its `custom_collate_fn`), with its `calc_loss_batch` and
its AdamW. All start from the same weights, and their first losses are compared. They train in turn, some steps each, in
rounds; the first four steps of a round are not timed, nor is the making of batches. Ours is measured once more as the
preset has it, with prompts masked: no peer has that. On a GPU blocks are compiled, ours and those of `transformers`.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.report import Benchmark, Figure
from benchmarks.subject import Subject, device, gpt2, precision, settle, targets
from benchmarks.tutorial_network import tutorial_network
from components.core.records import NoLogger
from components.models.devices import autocast
from components.models.fast.compiled import ENOUGH_TOKENS, compile_blocks
from components.models.memory import freed_memory_kept
from components.training.batching import shuffled
from components.training.config import InstructionTrainConfig
from components.training.instruction import tokenise
from components.training.loop import Trainer
from components.training.objectives.instruction import Entries, Instruction

DATA = Path(__file__).parents[1].parent / "shared/data"
FILE = "instruction-data.json"
ROUNDS = 3
STEPS, FEWER = 15, 4
"""Steps in a round: of the two that are compared most closely, and of the others."""
WARM = 4
"""Steps of a round before the clock starts: memory is at hand from then on, as in nearly all of a training."""
BATCH = 8
SEED = 123
NEVER = 10**6
"""Steps between evaluations: there is none but before the first step and after the last."""


@dataclass
class Contestant:
    """Something that trains: `step` takes the next rows, or whatever it is dealt, and returns its loss."""

    step: Callable[[Any], float]
    deals: Iterator[Any]
    steps: int = STEPS
    context: Callable[[], AbstractContextManager[None]] = nullcontext
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    """Examples a second, by round."""
    batch: int = BATCH

    def compete(self) -> None:
        """Take the steps of a round, after some to warm up, and note the examples a second."""
        with self.context():
            self._take(WARM)
            self.rates.append(self.steps * self.batch / self._take(self.steps))

    def _take(self, steps: int) -> float:
        """Take some steps; return their seconds."""
        seconds = 0.0
        for dealt in islice(self.deals, steps):
            started = time.perf_counter()
            self.losses.append(self.step(dealt))
            settle()
            seconds += time.perf_counter() - started
        return seconds


def measure() -> Benchmark:
    """Measure row 4 of the performance targets."""
    torch.set_num_threads(os.cpu_count() or 1)
    subject = gpt2()
    entries = tokenised(subject)
    found = {
        "ours": ours(subject, entries, mask_prompt=False),
        "transformers": transformers(subject, entries),
        "tutorial": tutorial(entries),
        "masked": ours(subject, entries, mask_prompt=True, steps=FEWER),
    }
    for _ in range(ROUNDS):
        for each in found.values():
            each.compete()
    rates = {name: each.rates for name, each in found.items()}
    return Benchmark("instruction", str(__doc__), figures(rates), notes(found))


def figures(rates: dict[str, list[float]]) -> list[Figure]:
    """Return our speed, that of the peers, and what lies between."""

    def times(peer: str) -> list[float]:
        return [mine / theirs for mine, theirs in zip(rates["ours"], rates[peer], strict=True)]

    def speed(what: str, name: str) -> Figure:
        return Figure(what, rates[name], unit="examples/s", more_is_better=True)

    close = targets(bf16=(1.4, 2.1), fp32=(1.25, 1.4))
    return [
        Figure(f"against transformers in {precision()}", times("transformers"), *close, "x", more_is_better=True),
        Figure("against the tutorial", times("tutorial"), *targets((4, 6)), "x", more_is_better=True),
        speed("ours, all tokens learnt", "ours"),
        speed("ours, prompts masked", "masked"),
        speed(f"transformers, {precision()}", "transformers"),
        speed("tutorial, fp32", "tutorial"),
    ]


def notes(found: dict[str, Contestant]) -> list[str]:
    """Return what shows that all learn the same."""
    first = ", ".join(f"{name} {found[name].losses[0]:.3f}" for name in ("ours", "transformers"))
    steps, fewer = (ROUNDS * (WARM + each) for each in (STEPS, FEWER))
    last = ", ".join(f"{name} {found[name].losses[-1]:.2f}" for name in ("ours", "transformers"))
    return [
        f"loss of the first batch: {first}; of the tutorial's, which is another one, {found['tutorial'].losses[0]:.3f}",
        f"loss of step {steps}: {last}",
        f"each took {steps} steps of {BATCH} examples, tutorial and masked prompts {fewer}; nothing is scaled",
    ]


def tokenised(subject: Subject) -> Entries:
    """Return the entries as tokens."""
    frame = pd.DataFrame(json.loads(_data().read_text(encoding="utf-8")))
    frame.insert(0, "row", range(1, len(frame) + 1))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "entries.parquet"
        frame.to_parquet(path, index=False)
        return tokenise(path, subject.template, subject.encoding)


def ours(subject: Subject, entries: Entries, mask_prompt: bool, steps: int = STEPS) -> Contestant:
    """Return our trainer, to be asked for single steps."""
    config = _config(mask_prompt)
    objective = _objective(subject, entries, config)
    compile_blocks(objective.model.transformer, "auto", device(), ENOUGH_TOKENS)
    trainer = Trainer(objective, NoLogger(), lambda *_: None, best=None)

    def step(rows: list[int]) -> float:
        return trainer._step(rows, config.learning_rate)[0]

    # As `prepared` has it for a whole training.
    return Contestant(step, objective.epoch(_order()), steps, freed_memory_kept)


def transformers(subject: Subject, entries: Entries, mask_prompt: bool = False) -> Contestant:
    """Return `transformers`' network with our weights, on our batches."""
    objective = _objective(subject, entries, _config(mask_prompt))
    model = subject.peer("fp32").train()
    model.config.use_cache = False
    if device().type == "cuda":
        for block in next(each for each in model.modules() if isinstance(each, nn.ModuleList)):
            block.compile(dynamic=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.1, fused=True)

    def step(dealt: tuple[Tensor, Tensor, Tensor]) -> float:
        tokens, real, targets = dealt
        optimiser.zero_grad(set_to_none=True)
        with autocast(device(), precision()):
            logits = model(input_ids=tokens, attention_mask=real).logits
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.item()

    def deals() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for rows in objective.epoch(_order()):
            batch = objective.batch("train", rows)
            lengths = torch.from_numpy(entries.lengths[rows])
            real = (torch.arange(batch.tokens.shape[1]) < lengths[:, None]).long()
            yield batch.tokens, real.to(device()), batch.targets

    return Contestant(step, deals())


def tutorial(entries: Entries) -> Contestant:
    """Return the tutorial's network with our weights, on its own batches."""
    from llms_from_scratch import ch05, ch07  # type: ignore[import-untyped]

    gpt = gpt2().ours()
    head = nn.Linear(gpt.head.shape[1], gpt.head.shape[0], bias=False)
    head.weight.data.copy_(gpt.head.data)
    model = tutorial_network(gpt.transformer, head).requires_grad_(True).to(device()).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.1)

    def step(dealt: Sequence[Tensor]) -> float:
        optimiser.zero_grad()
        loss = ch05.calc_loss_batch(*dealt, model, device())
        loss.backward()
        optimiser.step()
        return float(loss.item())

    def deals() -> Iterator[Sequence[Tensor]]:
        for rows in shuffled(len(entries), BATCH, _order()):
            chosen = [entries.tokens(row) for row in rows]
            yield ch07.custom_collate_fn(chosen, allowed_max_length=1024, device=device())

    return Contestant(step, deals(), FEWER)


def _data() -> Path:
    mirror = Path(os.environ.get("GRADUS_MIRROR", DATA))
    if not (mirror / FILE).is_file():
        raise SystemExit(f"instruction: there is no {FILE} in {mirror}; set GRADUS_MIRROR to a folder that holds it")
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(mirror / "tiktoken-cache"))
    return mirror / FILE


def _config(mask_prompt: bool) -> InstructionTrainConfig:
    return InstructionTrainConfig(
        batch_size=BATCH,
        mask_prompt=mask_prompt,
        precision=precision(),
        device=device().type,
        eval_every=NEVER,
        clip=None,
    )


def _objective(subject: Subject, entries: Entries, config: InstructionTrainConfig) -> Instruction:
    return Instruction(subject.ours(), entries, entries, config, device(), precision(), end=subject.end)


def _order() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)
