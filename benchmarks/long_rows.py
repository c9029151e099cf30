"""Tokens a second in rows as long as the context, 1,024 tokens, on a GPU.

Our trainer as instruction fine-tuning has it, every token learnt, from random weights on random tokens: bf16 autocast,
PyTorch's flash attention, compiled blocks, fused AdamW, GPT-2's vocabulary as it is, 32 rows a step. Once more without
compiling, which says what that gains. The tutorial's own figures are those that it publishes for an A100
(ch05/10_llm-training-speed of its repository), as it stands, and tuned, with a vocabulary rounded up to 50,304 and the
largest batches that its card held; they are not of this card, so nothing is claimed of the ratio.
"""

import time
from itertools import islice
from statistics import median

import numpy as np
import torch

from benchmarks.report import Benchmark, Figure
from benchmarks.subject import device, settle, size
from components.core.records import NoLogger
from components.models.config import LoraConfig, ModelConfig
from components.models.fast.compiled import Wish, compile_blocks
from components.training.config import InstructionTrainConfig
from components.training.instruction import build_gpt
from components.training.loop import Trainer
from components.training.objectives.instruction import Entries, Instruction

PUBLISHED = {"the tutorial, at first, A100": 12_525, "the tutorial, tuned, A100": 142_156}
"""Tokens a second of 124M."""
VOCABULARY = 50_257
BATCH = 32
WARM, STEPS, ROUNDS = 5, 20, 3
SEED = 123
WAYS: dict[str, Wish] = {"ours": "always", "ours, not compiled": "never"}


def measure(
    network: ModelConfig | None = None, batch: int = BATCH, warm: int = WARM, steps: int = STEPS, rounds: int = ROUNDS
) -> Benchmark:
    """Measure row 10 of the benchmarks; of another network, or for another time, where that is asked for."""
    network = network or ModelConfig(size=size(), weights="random")
    rates = {what: tokens_a_second(network, wish, batch, warm, steps, rounds) for what, wish in WAYS.items()}
    figures = [Figure(what, rate, unit="tokens/s", more_is_better=True) for what, rate in rates.items()]
    figures += [Figure(what, [rate], unit="tokens/s", more_is_better=True) for what, rate in PUBLISHED.items()]
    times = median(rates["ours"]) / PUBLISHED["the tutorial, tuned, A100"]
    notes = [f"{batch} rows of {network.shape.context:,} tokens a step; {times:.2f} times the tutorial's tuned figure"]
    return Benchmark("long_rows", str(__doc__), figures, notes)


def tokens_a_second(network: ModelConfig, wish: Wish, batch: int, warm: int, steps: int, rounds: int) -> list[float]:
    """Train on rows as long as the context; return the tokens a second of each round, after some steps to warm up."""
    where = device()
    config = InstructionTrainConfig(
        batch_size=batch, mask_prompt=False, precision="bf16", device=where.type, eval_every=10**6, clip=None, seed=SEED
    )
    gpt = build_gpt(network, LoraConfig(), config, VOCABULARY).to(where)
    compile_blocks(gpt.transformer, wish, where, tokens=0)
    entries = random_entries(batch * (warm + rounds * steps), network.shape.context)
    objective = Instruction(gpt, entries, entries, config, where, "bf16", end=VOCABULARY - 1)
    trainer = Trainer(objective, NoLogger(), lambda *_: None, best=None)
    deals = objective.epoch(torch.Generator().manual_seed(SEED))

    def seconds(count: int) -> float:
        settle()
        started = time.perf_counter()
        for rows in islice(deals, count):
            trainer._step(rows, config.learning_rate)
        settle()
        return time.perf_counter() - started

    seconds(warm)
    return [steps * batch * network.shape.context / seconds(steps) for _ in range(rounds)]


def random_entries(count: int, length: int) -> Entries:
    """Return entries of `length` random tokens each, with no prompt."""
    ids = np.random.default_rng(SEED).integers(VOCABULARY, size=count * length, dtype=np.int32)
    return Entries(ids, np.arange(count + 1) * length, np.zeros(count, np.int64))
