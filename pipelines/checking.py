"""What `gradus check` finds out about a classification preset and its data; nothing is trained."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, Field

from components.core.home import mirror
from components.core.records import Manifest
from components.generation.zero_shot import ZeroShot, has_room, try_zero_shot
from components.models.config import LoraConfig, ModelConfig
from components.models.devices import pick_device, pick_precision
from components.models.fast.trunk import Trunk
from components.models.saved.classifier import MODEL_FILE
from components.models.starting_weights import FOLDER
from components.models.tokenizer import end_of_text, load_tokenizer
from components.models.weights import make_gpt
from components.tasks import download, fetch_weights, reads_ahead, split, validate
from components.training.classification import Prepared, build_classifier, prepare, tokenise
from components.training.config import TrainConfig
from components.training.frozen import blank_states, state_lengths, time_reading
from components.training.objectives import Split
from components.training.objectives.classification import Classification
from components.training.objectives.features import Features
from components.training.outline import outline_classifier
from components.training.planning.estimate import Plan, count_parameters, estimate_memory, plan, process_bytes
from components.training.planning.preview import Lengths, Sample, describe_lengths, draw_samples
from components.training.planning.probe import Rehearsal
from components.training.planning.timing import Cost as Seconds
from components.training.planning.timing import Stopwatch, Timing
from components.training.planning.workload import Rows, Workload
from components.training.preparing import check_vocabulary
from components.training.schedule import warmup_steps
from pipelines.checked import TRACKING, Cost, Found, or_missing
from pipelines.kinds.classification.config import ClassificationConfig

if TYPE_CHECKING:
    import tiktoken

    from components.models.classifier import Classifier
    from components.training.batching import Examples

ASKED = 20
"""Validation rows that a language model is asked about."""


class Data(BaseModel):
    """What the steps before training say, and whether they were done now or before."""

    url: str
    notes: list[str] = Field(description="What was noticed when the file was read.")
    unused: list[str] = Field(description="Columns of the file that nothing is made of.")
    rows: int
    rows_used: int
    expectations: list[dict[str, Any]]
    warnings: list[str]
    report: Path
    classes: dict[str, dict[str, int]] = Field(description="Rows of each label, stage by stage.")
    overlap: dict[str, dict[str, int]]
    split_warnings: list[str]
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
    trial = _Trial(config, prepared, test, len(splits.facts["labels"]), encoding, folder)
    found.cost = _cost(trial, process, found)
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
        notes=source.facts["notes"],
        unused=source.facts["unused"],
        rows=table.facts["rows_in"],
        rows_used=table.facts["rows_out"],
        expectations=table.facts["expectations"],
        warnings=table.facts["warnings"],
        report=table.folder / "report.html",
        classes=_classes(config, table, splits),
        overlap=splits.facts["overlap"],
        split_warnings=splits.facts["warnings"],
        cached_steps=[step.step for step in (source, table, splits) if step.cached],
    )
    return splits, data


def _classes(config: ClassificationConfig, table: Manifest, splits: Manifest) -> dict[str, dict[str, int]]:
    """Return the rows of each label at first, after splitting, and after balancing."""
    before: dict[str, int] = table.facts["class_counts"]
    after: dict[str, dict[str, int]] = splits.facts["classes"]
    stages = {"validated": {label: int(before[label]) for label in splits.facts["labels"]}}
    if config.balance.method == "undersample" and config.balance.when == "train_only":
        stages["train, before balancing"] = splits.facts["train_classes_before_balancing"]
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


@dataclass
class _Trial:
    """A run's recipe and data, and its network without content."""

    config: ClassificationConfig
    data: Prepared
    test: "Examples"
    classes: int
    encoding: "tiktoken.Encoding"
    weights: Path | None

    def __post_init__(self) -> None:
        model, train = self.config.model, self.config.train
        self.device = pick_device(train.device)
        self.precision = pick_precision(train.precision, self.device)
        self.states = blank_states(self.data, model, train, self.precision) if reads_ahead(model, train) else {}
        with torch.device("meta"):
            self.outline = self.outlined()
        every: dict[Split, Examples] = {"train": self.data.train, "validation": self.data.validation}
        rows = {split: Rows.labelled(examples.lengths) for split, examples in every.items()}
        self.workload = Workload(self.learnt(self.outline), rows, train, self.data.length)

    @property
    def recipe(self) -> tuple[ModelConfig, LoraConfig, TrainConfig, int, int]:
        """What a network is built by."""
        return self.config.model, self.config.lora, self.config.train, self.classes, self.encoding.n_vocab

    def outlined(self) -> "Classifier":
        """Return the network without content."""
        return outline_classifier(*self.recipe)

    def learnt(self, network: "Classifier") -> Classification:
        """Return what a network learns."""
        train, rows, end = self.config.train, (self.data.train, self.data.validation), end_of_text(self.encoding)
        plain = Classification(network, *rows, train, self.device, self.precision, end, self.data.length)
        return Features(**vars(plain), states=self.states) if self.states else plain

    def tokens(self) -> int:
        """Return how many tokens all splits have, as the network gets them."""
        length = self.data.length
        return sum(len(each) * length if length else int(each.lengths.sum()) for each in self._splits())

    def score(self, forward: Seconds) -> float:
        """Return the seconds of the last evaluation: rows of like length go together, 32 of them."""
        return forward(self.tokens(), sum(map(len, self._splits())) / 32)

    def read_frozen(self, network: "Classifier") -> float:
        """Return the seconds in which all texts go through the frozen blocks, once."""
        if not self.states:
            return 0.0
        trunk = Trunk(network.transformer, self.states["train"].blocks, self.device, self.precision)
        kept = state_lengths(self.data.train, self.config.train, self.data.length)
        return self.tokens() * time_reading(trunk, self.data.train, kept, self.config.train)

    def _splits(self) -> "tuple[Examples, ...]":
        return self.data.train, self.data.validation, self.test.cut(self.data.limit)


def _cost(trial: _Trial, process: int, found: Check) -> Cost:
    train, rows = trial.config.train, trial.data
    rehearsal = Rehearsal(trial.outlined, trial.learnt, trial.device)
    memory = estimate_memory(
        trial.outline,
        trial.config.model,
        train,
        rehearsal.learn([trial.workload.heaviest()] * min(train.accumulate, 2)),
        rehearsal.evaluate(*trial.workload.heaviest_evaluated()),
        trial.device,
        process + TRACKING,
        rows.train.ids.nbytes + rows.validation.ids.nbytes,
    )
    steps = plan(train, len(rows.train))
    return Cost(
        device=trial.device.type,
        precision=trial.precision,
        parameters=count_parameters(trial.outline),
        plan=steps,
        memory=memory,
        timing=_time(trial, steps, found) if memory.total < memory.available else None,
    )


def _time(trial: _Trial, steps: Plan, found: Check) -> Timing:
    """Time some steps of the network that training starts from, or of a random one where its weights are missing."""
    network = or_missing(lambda: build_classifier(*trial.recipe, trial.weights), found)
    network = network or build_classifier(*trial.recipe, None)
    watch = Stopwatch(network, trial.learnt(network), trial.workload, trial.device)
    return watch.time(steps, after=trial.score, before=lambda: trial.read_frozen(network))


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
