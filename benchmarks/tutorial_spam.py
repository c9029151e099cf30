"""What the benchmarks `spam` and `spam_book` share: the tutorial's data, its training, and ours.

Ours is timed from the Parquet files that the step `split` leaves to the metrics of the step `evaluate`: the steps
`read_frozen`, `fine_tune` and `evaluate`, on an empty store, each as a flow calls it but for Prefect. That includes
reading and encoding the texts, building and saving the network, both baselines and all figures.

The tutorial's time is that of its functions in `llms_from_scratch.ch06` on the same rows in the same order, already
encoded and padded: 50 training steps (after one to warm up, in as many turns as ours has), two of its evaluations, an
accuracy after an epoch and final accuracies on five batches are timed, and multiplied to the number of its
`train_classifier_simple` with 5 epochs, and of the three accuracies over whole splits that follow.

`python -m benchmarks.tutorial_spam` measures `spam_accuracies.json`, the tutorial's accuracies.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from torch import Tensor

from benchmarks.subject import device, settle, size
from benchmarks.tutorial_network import tutorial_network
from components.core.records import Manifest
from components.models.config import LoraConfig
from components.models.tokenizer import end_of_text, load_tokenizer
from components.training.batching import Examples, in_batches, pad, shuffled
from components.training.classification import Prepared, build_classifier, prepare, tokenise
from pipelines.config import load_config
from pipelines.kinds.classification.config import ClassificationConfig

DATA = Path(__file__).parents[1].parent / "shared/data"
ACCURACIES = Path(__file__).with_name("spam_accuracies.json")
SEEDS = (123, 124, 125)
STEPS = 50
"""Training steps of the tutorial that are timed, in all turns together."""
BATCHES = 5
"""Batches that the tutorial looks at in an evaluation."""
HOW = "124M, random weights, 5 epochs; by preset spam-book in fp32, whose losses benchmark spam_book compares"
Loader = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Ours:
    """Seconds in all and by step, accuracies by split, and the losses of all training steps."""

    seconds: float
    parts: dict[str, float]
    accuracies: dict[str, float]
    losses: list[float]


@dataclass(frozen=True)
class Peer:
    """Seconds that the tutorial takes for everything, for one step and one evaluation, and the losses of its steps."""

    seconds: float
    step: float
    evaluation: float
    losses: list[float]


def configure(preset: str, seed: int, *more: str) -> ClassificationConfig:
    """Return a preset as it is measured: random weights, the tutorial's evaluations, and `more` overrides."""
    options = ["model.weights=random", "train.eval_every=50", f"train.eval_batches={BATCHES}", f"train.seed={seed}"]
    config = load_config(preset, [*options, f"model.size={size()}", f"train.device={device().type}", *more])
    if not isinstance(config, ClassificationConfig):
        raise TypeError(f"{preset} is no classifier")
    return config


@contextmanager
def splits() -> Iterator[Manifest]:
    """Give the splits of `spam-book`, made by the steps that a run makes them with, in a store of their own."""
    from components.tasks import download, split, validate

    mirror = Path(os.environ.get("GRADUS_MIRROR", DATA))
    if not mirror.is_dir():
        raise SystemExit(f"spam: there is no {mirror}; set GRADUS_MIRROR to a folder with the SMS Spam Collection")
    os.environ.setdefault("TIKTOKEN_CACHE_DIR", str(mirror / "tiktoken-cache"))
    config = configure("spam-book", SEEDS[0])
    with TemporaryDirectory() as folder, environment(GRADUS_HOME=folder, GRADUS_MIRROR=str(mirror)):
        table = validate.without_prefect(download.without_prefect(config.source), config.validation)
        yield split.without_prefect(table, config.split, config.balance)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def warm_up(dealt: Manifest, preset: str) -> None:
    """Do the same with a network of no size, so that everything is imported."""
    size = "model.size={layers: 2, heads: 1, width: 8, context: 1024}"
    run(dealt, configure(preset, SEEDS[0], size, "train.max_steps=1"))


def run(dealt: Manifest, config: ClassificationConfig) -> Ours:
    """Run and time the steps from splits to accuracies."""
    from components.tasks import evaluate, fetch_weights, fine_tune, read_frozen, reads_ahead

    with TemporaryDirectory() as folder, environment(GRADUS_HOME=folder):
        weights = fetch_weights.without_prefect(config.model)
        started = time.perf_counter()
        frozen = None
        if reads_ahead(config.model, config.train):
            frozen = read_frozen.without_prefect(dealt, weights, config.model, config.train)
        trained = fine_tune.without_prefect(dealt, weights, config.model, config.train, frozen=frozen)
        scores = evaluate.without_prefect(dealt, trained, frozen)
        seconds = time.perf_counter() - started
        losses = pd.read_parquet(trained.path("steps.parquet"))["loss"].tolist()
    metrics = scores.facts["metrics"]
    accuracies = {name: metrics[f"{name}/accuracy"] for name in ("train", "validation", "test")}
    parts = {each.step: each.seconds for each in (frozen, trained, scores) if each}
    return Ours(seconds, parts, accuracies, losses)


def time_tutorial(dealt: Manifest, seed: int, *more: str, timed: int = STEPS) -> Peer:
    """Train as the tutorial does, scale what the `timed` steps take to all of them; `more` are options."""
    from llms_from_scratch import ch06  # type: ignore[import-untyped]

    config = configure("spam-book", seed, *more)
    train, validation, test, steps = _loaders(dealt, config)
    model = _tutorial_classifier(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.1)
    losses: list[float] = []

    def learn(batches: Loader) -> None:
        model.train()
        for inputs, labels in batches:
            optimiser.zero_grad()
            loss = ch06.calc_loss_batch(inputs, labels, model, device())
            loss.backward()
            optimiser.step()
            losses.append(loss.item())

    learn(steps[:1])
    step = _seconds(lambda: learn(steps[1 : timed + 1])) / timed
    evaluation = _seconds(lambda: ch06.evaluate_model(model, train, validation, device(), BATCHES))
    batch = _seconds(lambda: ch06.calc_accuracy_loader(test, model, device(), BATCHES)) / BATCHES
    evaluations = -(-len(steps) // config.train.eval_every)
    read = 2 * BATCHES * config.train.epochs + len(train) + len(validation) + len(test)
    return Peer(len(steps) * step + evaluations * evaluation + read * batch, step, evaluation, losses)


def _seconds(work: Callable[[], object]) -> float:
    settle()
    started = time.perf_counter()
    work()
    settle()
    return time.perf_counter() - started


def _tutorial_classifier(config: ClassificationConfig) -> torch.nn.Module:
    """Return the tutorial's classifier with our first weights: all trains, or last block, final norm and head."""
    encoding = load_tokenizer(config.model.vocabulary)
    ours = build_classifier(config.model, LoraConfig(), config.train, 2, encoding.n_vocab)
    model = tutorial_network(ours.transformer, ours.head).to(device())
    last = (model.trf_blocks[-1], model.final_norm, model.out_head)  # type: ignore[index]
    for part in (model,) if config.train.trainable == "all" else last:
        part.requires_grad_(True)
    return model


def _loaders(dealt: Manifest, config: ClassificationConfig) -> tuple[Loader, Loader, Loader, Loader]:
    """Return the batches of the three splits in order, and those of all training steps."""
    encoding = load_tokenizer(config.model.vocabulary)
    labels, context = dealt.facts["labels"], config.model.shape.context
    paths = [dealt.path(f"{name}.parquet") for name in ("train", "validation", "test")]
    data: Prepared = prepare(paths[0], paths[1], labels, encoding, config.train, context)
    test = tokenise(paths[2], labels, encoding).cut(data.limit)

    def batches(split: Examples, rows: Iterator[list[int]]) -> Loader:
        made = [pad(split, each, end_of_text(encoding), data.length) for each in rows]
        return [(batch.tokens, batch.labels) for batch in made]

    size = config.train.batch_size
    order = torch.Generator().manual_seed(config.train.seed)
    chosen = (rows for _ in range(config.train.epochs) for rows in shuffled(len(data.train), size, order))
    ordered = (batches(split, in_batches(range(len(split)), size)) for split in (data.train, data.validation, test))
    return (*ordered, batches(data.train, chosen))  # type: ignore[return-value]


def tutorial_accuracies() -> dict[str, dict[str, float]]:
    """Return the tutorial's final accuracies by seed and split, as committed."""
    found: dict[str, dict[str, float]] = json.loads(ACCURACIES.read_text())["accuracies"]
    return found


def main() -> None:
    """Measure the tutorial's accuracies on all seeds with `spam-book`, whose losses are the tutorial's."""
    with splits() as dealt:
        found = {str(seed): run(dealt, configure("spam-book", seed)).accuracies for seed in SEEDS}
    ACCURACIES.write_text(json.dumps({"how": HOW, "accuracies": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
