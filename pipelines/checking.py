"""What `gradus check` finds out about a classification preset and its data; nothing is trained."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from components.generation.zero_shot import ZeroShot, has_room, try_zero_shot
from components.home import mirror
from components.model.devices import pick_device, pick_precision
from components.model.saved import MODEL_FILE
from components.model.starting_weights import FOLDER
from components.model.tokenizer import end_of_text, load_tokenizer
from components.model.trunk import Trunk
from components.model.weights import make_gpt
from components.records import Manifest
from components.tasks import download, fetch_weights, reads_ahead, split, validate
from components.training.classification import Prepared, build_classifier, prepare, tokenise
from components.training.estimate import count_parameters, estimate_memory, plan, process_bytes
from components.training.frozen import blank_states, state_lengths, time_reading
from components.training.objectives import Split
from components.training.objectives.classification import Classification
from components.training.objectives.features import Features
from components.training.outline import outline_classifier
from components.training.preparing import check_vocabulary
from components.training.preview import Lengths, Sample, describe_lengths, draw_samples
from components.training.probe import Rehearsal
from components.training.schedule import warmup_steps
from components.training.timing import Cost as Seconds
from components.training.timing import Stopwatch
from components.training.workload import Rows, Workload
from pipelines.checked import TRACKING, Cost, Found, or_missing
from pipelines.config import ClassificationConfig

if TYPE_CHECKING:
    import tiktoken

    from components.model.classifier import Classifier
    from components.training.batching import Examples

ASKED = 20
"""Validation rows that a language model is asked about."""


class Data(BaseModel):
    """What the steps before training say, and whether they were done now or before."""

    url: str
    rows: int
    rows_used: int
    expectations: list[dict[str, Any]]
    warnings: list[str]
    report: Path
    classes: dict[str, dict[str, int]] = Field(description="Rows of each label, stage by stage.")
    overlap: dict[str, dict[str, int]]
    cached_steps: list[str]


class Texts(BaseModel):
    """What the tokenizer makes of the data."""

    lengths: list[Lengths]
    samples: list[Sample]


class Check(Found):
    """All that a check found out."""

    data: Data
    texts: Texts | None = None
    cost: Cost | None = None
    zero_shot: ZeroShot | None = None
    no_zero_shot: str = ""


def check(config: ClassificationConfig) -> Check:
    """Validate a config and its data, and look at what a run would train, on what, and at what cost.

    The steps before training are done as in a run, and a run takes them from the store.

    Raises:
        DataRejected: if the data does not pass.
        ConfigError: if the options do not fit the data or the machine.
    """
    process = process_bytes()  # before the steps, which a run takes from the store
    splits, data = _data(config)
    found = Check(preset=config.name, data=data)
    encoding = or_missing(lambda: load_tokenizer(config.model.vocabulary, mirror()), found)
    weights = or_missing(lambda: fetch_weights.without_prefect(config.model), found)
    if encoding is None:
        return found
    folder = weights.folder / FOLDER if weights and weights.files else None
    check_vocabulary(folder, encoding)
    prepared = _prepare(config, splits, encoding)
    warmup_steps(config.train, plan(config.train, len(prepared.train)).steps)  # refuses what training would
    test = tokenise(splits.path("test.parquet"), splits.facts["labels"], encoding)
    found.texts = _texts(config, prepared, test, splits.facts["labels"], encoding)
    found.cost = _cost(config, prepared, test, encoding, folder, process, found)
    found.no_zero_shot = _why_no_zero_shot(config, splits.facts["labels"], encoding, folder, found)
    if not found.no_zero_shot:
        found.zero_shot = _zero_shot(config, splits, encoding, folder)
    return found


def _data(config: ClassificationConfig) -> tuple[Manifest, Data]:
    source = download.without_prefect(config.source)
    table = validate.without_prefect(source, config.validation)
    splits = split.without_prefect(table, config.split, config.balance)
    data = Data(
        url=str(source.facts["url"]),
        rows=table.facts["rows_in"],
        rows_used=table.facts["rows_out"],
        expectations=table.facts["expectations"],
        warnings=table.facts["warnings"],
        report=table.folder / "report.html",
        classes=_classes(config, table, splits),
        overlap=splits.facts["overlap"],
        cached_steps=[step.step for step in (source, table, splits) if step.cached],
    )
    return splits, data


def _classes(config: ClassificationConfig, table: Manifest, splits: Manifest) -> dict[str, dict[str, int]]:
    """Return the rows of each label at first, after splitting, and after balancing."""
    before: dict[str, int] = table.facts["class_counts"]
    after: dict[str, dict[str, int]] = splits.facts["classes"]
    stages = {"validated": {label: int(before[label]) for label in splits.facts["labels"]}}
    if config.balance.method == "undersample" and config.balance.when == "train_only":
        dealt = {
            label: count - after["validation"][label] - after["test"][label]
            for label, count in stages["validated"].items()
        }
        stages["train, before balancing"] = dealt
    return stages | after


def _prepare(config: ClassificationConfig, splits: Manifest, encoding: "tiktoken.Encoding") -> Prepared:
    train, validation = splits.path("train.parquet"), splits.path("validation.parquet")
    return prepare(train, validation, splits.facts["labels"], encoding, config.train, config.model.shape.context)


def _texts(
    config: ClassificationConfig,
    prepared: Prepared,
    test: "Examples",
    labels: list[str],
    encoding: "tiktoken.Encoding",
) -> Texts:
    examples = {"train": prepared.train, "validation": prepared.validation, "test": test}
    whole = {name: replace(part, limit=None).lengths for name, part in examples.items()}
    return Texts(
        lengths=[describe_lengths(name, lengths, prepared.limit) for name, lengths in whole.items()],
        samples=draw_samples(
            "train", prepared.train, whole["train"], labels, encoding, config.train.pooling, prepared.length
        ),
    )


def _cost(
    config: ClassificationConfig,
    prepared: Prepared,
    test: "Examples",
    encoding: "tiktoken.Encoding",
    weights: Path | None,
    process: int,
    found: Check,
) -> Cost:
    classes, words = len(found.data.classes["validated"]), encoding.n_vocab
    device = pick_device(config.train.device)
    precision = pick_precision(config.train.precision, device)
    recipe = (config.model, config.lora, config.train, classes, words)

    ahead = reads_ahead(config.model, config.train)
    states = blank_states(prepared, config.model, config.train, precision) if ahead else {}

    def learnt(network: "Classifier") -> Classification:
        rows = (prepared.train, prepared.validation)
        plain = Classification(network, *rows, config.train, device, precision, end_of_text(encoding), prepared.length)
        return Features(**vars(plain), states=states) if states else plain

    with torch.device("meta"):
        outline = outline_classifier(*recipe)
    lengths: dict[Split, NDArray[np.int64]] = {
        "train": prepared.train.lengths,
        "validation": prepared.validation.lengths,
    }
    rows = {split: Rows.labelled(each) for split, each in lengths.items()}
    workload = Workload(learnt(outline), rows, config.train, prepared.length)
    rehearsal = Rehearsal(lambda: outline_classifier(*recipe), learnt, device)
    memory = estimate_memory(
        outline,
        config.model,
        config.train,
        rehearsal.learn([workload.heaviest()] * min(config.train.accumulate, 2)),
        rehearsal.evaluate(*workload.heaviest_evaluated()),
        device,
        process + TRACKING,
        prepared.train.ids.nbytes + prepared.validation.ids.nbytes,
    )
    times = plan(config.train, len(prepared.train))
    timing = None
    if memory.total < memory.available:
        network = or_missing(lambda: build_classifier(*recipe, weights), found)
        network = network or build_classifier(*recipe, None)
        every = [*lengths.values(), test.cut(prepared.limit).lengths]

        def scored(forward: Seconds) -> float:
            """Rows of like length go together, 32 of them."""
            tokens = sum(len(each) * prepared.length if prepared.length else int(each.sum()) for each in every)
            return forward(tokens, sum(map(len, every)) / 32)

        def read_before() -> float:
            """All texts go through the frozen blocks, once."""
            if not states:
                return 0.0
            trunk = Trunk(network.transformer, states["train"].blocks, device, precision)
            kept = state_lengths(prepared.train, config.train, prepared.length)
            tokens = sum(len(each) * prepared.length if prepared.length else int(each.sum()) for each in every)
            return tokens * time_reading(trunk, prepared.train, kept, config.train)

        watch = Stopwatch(network, learnt(network), workload, device)
        timing = watch.time(times, after=scored, before=read_before)
    return Cost(
        device=device.type,
        precision=precision,
        parameters=count_parameters(outline),
        plan=times,
        memory=memory,
        timing=timing,
    )


def _why_no_zero_shot(
    config: ClassificationConfig, labels: list[str], encoding: "tiktoken.Encoding", weights: Path | None, found: Check
) -> str:
    if config.model.weights == "random":
        return "the weights are random"
    if weights is None or found.missing:
        return "the weights are missing, or are others"
    if (weights / MODEL_FILE).exists():
        return "the weights are a classifier's"
    if found.cost and found.cost.timing is None:
        return "there is not enough free memory"
    if not has_room(encoding, labels, config.model.shape.context):
        return "the prompt does not fit the model's context"
    return ""


def _zero_shot(
    config: ClassificationConfig, splits: Manifest, encoding: "tiktoken.Encoding", weights: Path | None
) -> ZeroShot:
    import pandas as pd

    device = pick_device(config.train.device)
    model = make_gpt(config.model, encoding.n_vocab, weights, config.train.seed).eval().to(device)
    rows = pd.read_parquet(splits.path("validation.parquet"), columns=["text", "label"])
    asked = rows.sample(min(ASKED, len(rows)), random_state=config.train.seed)
    return try_zero_shot(model, encoding, asked["text"].tolist(), asked["label"].tolist(), splits.facts["labels"])
