"""What `gradus check` finds out about an instruction preset and its data; nothing is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, Field

from components.core.home import mirror
from components.core.records import Manifest
from components.generation.answers import make_prompts, rows_at_once
from components.generation.forecast import answering_bytes, most_tokens, time_decoding
from components.models.devices import pick_device, pick_precision
from components.models.starting_weights import FOLDER
from components.models.tokenizer import end_of_text, load_tokenizer
from components.tasks import download, fetch_weights
from components.tasks.instruction import SAMPLE_TOKENS, split, validate
from components.training.instruction import Prepared, build_gpt, prepare, tokenise
from components.training.objectives import Split
from components.training.objectives.instruction import Entries, Instruction
from components.training.outline import outline_gpt
from components.training.planning.estimate import count_parameters, estimate_memory, plan, process_bytes
from components.training.planning.preview import Lengths
from components.training.planning.preview_entries import (
    BatchingPreview,
    Cuts,
    EntrySample,
    compare_batchings,
    describe_cuts,
    describe_entries,
    draw_entries,
    whole_lengths,
)
from components.training.planning.probe import Rehearsal
from components.training.planning.timing import Stopwatch
from components.training.planning.workload import Rows, Workload
from components.training.preparing import check_vocabulary
from components.training.schedule import warmup_steps
from pipelines.checked import TRACKING, Cost, Found, or_missing
from pipelines.judge_checking import Judge, look_for_judge
from pipelines.kinds.instruction.config import InstructionConfig

if TYPE_CHECKING:
    import tiktoken

    from components.models.language_model import LanguageModel

SPLITS = ("train", "validation", "test")


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
    splits: dict[str, int] = Field(description="Rows of each split.")
    tasks: dict[str, dict[str, int]] = Field(description="Rows of each task in each split.")
    overlap: dict[str, dict[str, int]]
    split_warnings: list[str]
    empty_inputs: float = Field(description="Share of the rows without an input.")
    tokens: dict[str, float] = Field(description="Of whole examples: longest, mean.")
    cached_steps: list[str]


class Texts(BaseModel):
    """What template and tokenizer make of the data."""

    template: str
    mask_prompt: bool
    trained_share: float = Field(description="Share of the training tokens from which something is learnt.")
    samples: list[EntrySample]
    lengths: dict[str, dict[str, Lengths]] = Field(description="By split: of entries, prompts and responses.")
    cuts: list[Cuts]
    context: int
    max_new_tokens: int
    batching: str
    batchings: list[BatchingPreview]


class Answering(BaseModel):
    """What answering the test split takes: seconds if the responses are like the references, and at most."""

    entries: int
    memory: int
    seconds: float
    most_seconds: float


class InstructionCheck(Found):
    """All that a check found out."""

    data: Data
    texts: Texts | None = None
    cost: Cost | None = None
    judge: Judge | None = None
    answering: Answering | None = Field(default=None, description="None where a run would not fit into memory.")


def check_instruction(config: InstructionConfig) -> InstructionCheck:
    """Validate a config and its data, and look at what a run would learn, from what, and at what cost.

    The steps before training are done as in a run, and a run takes them from the store. A judge that cannot be asked is
    no error here: there is time until the run comes to it.

    Raises:
        DataRejected: if the data does not pass.
        ConfigError: if the options do not fit the data or the machine, or nothing would be learnt.
    """
    process = process_bytes()  # before the steps, which a run takes from the store
    encoding = load_tokenizer(config.model.vocabulary, mirror())  # without which no entry's length is known
    splits, data = _data(config)
    found = InstructionCheck(preset=config.name, data=data)
    weights = or_missing(lambda: fetch_weights.without_prefect(config.model), found)
    folder = weights.folder / FOLDER if weights and weights.files else None
    check_vocabulary(folder, encoding)
    trial = _Trial(config, splits, encoding, folder)
    warmup_steps(config.train, plan(config.train, len(trial.data.train)).steps)  # refuses what training would
    found.texts = _texts(trial)
    _cost(trial, process, found)
    found.judge = look_for_judge(config.judge, data.splits["test"])
    return found


def _data(config: InstructionConfig) -> tuple[Manifest, Data]:
    source = download.without_prefect(config.source)
    table = validate.without_prefect(source, config.validation, config.prompt, config.model)
    splits = split.without_prefect(table, config.split)
    data = Data(
        url=str(source.facts["url"]),
        notes=source.facts["notes"],
        unused=source.facts["unused"],
        rows=table.facts["rows_in"],
        rows_used=table.facts["rows_out"],
        expectations=table.facts["expectations"],
        warnings=table.facts["warnings"],
        report=table.folder / "report.html",
        splits=splits.facts["rows"],
        tasks=splits.facts["tasks"],
        overlap=splits.facts["overlap"],
        split_warnings=splits.facts["warnings"],
        empty_inputs=table.facts["empty_inputs"],
        tokens=table.facts["tokens"],
        cached_steps=[step.step for step in (source, table, splits) if step.cached],
    )
    return splits, data


@dataclass
class _Trial:
    """A run's recipe and data, and its network without content."""

    config: InstructionConfig
    splits: Manifest
    encoding: "tiktoken.Encoding"
    weights: Path | None

    def __post_init__(self) -> None:
        config = self.config
        self.device = pick_device(config.train.device)
        self.precision = pick_precision(config.train.precision, self.device)
        self.template = config.prompt.resolved
        self.context = config.model.shape.context
        self.words = self.encoding.n_vocab
        train, validation = self.splits.path("train.parquet"), self.splits.path("validation.parquet")
        self.data: Prepared = prepare(train, validation, self.template, self.encoding, config.train, self.context)
        self.test = tokenise(self.splits.path("test.parquet"), self.template, self.encoding)
        with torch.device("meta"):
            self.outline = self.outlined()

    def outlined(self) -> "LanguageModel":
        """Return the network without content."""
        return outline_gpt(self.config.model, self.config.lora, self.config.train, self.words, self.precision)

    def learnt(self, network: "LanguageModel") -> Instruction:
        """Return what a network learns."""
        rows, end = (self.data.train, self.data.validation), end_of_text(self.encoding)
        return Instruction(network, *rows, self.config.train, self.device, self.precision, end)

    @property
    def entries(self) -> dict[str, Entries]:
        """The entries of all splits, cut as in training."""
        return {"train": self.data.train, "validation": self.data.validation, "test": self.test.cut(self.data.limit)}

    @cached_property
    def workload(self) -> Workload:
        """What training puts through the network."""
        train, size = self.config.train, self.config.model.shape
        splits: dict[Split, Entries] = {"train": self.data.train, "validation": self.data.validation}
        rows = {split: Rows(each.lengths, each.trained(train.mask_prompt)) for split, each in splits.items()}
        blocks = self.outline.transformer.products()
        return Workload(
            self.learnt(self.outline),
            rows,
            train,
            packed=train.batching == "packed",
            target=self.words * size.width / blocks,
        )


def _texts(trial: _Trial) -> Texts:
    config, limit = trial.config, trial.data.limit
    new_tokens = config.generation.max_new_tokens
    end = end_of_text(trial.encoding)
    shown = _shown_rows(trial.splits.path("train.parquet"), trial.data.train)
    return Texts(
        template=config.prompt.name,
        mask_prompt=config.train.mask_prompt,
        trained_share=trial.data.trained_share,
        samples=draw_entries("train", trial.data.train, shown, trial.encoding, config.train.mask_prompt),
        lengths={name: describe_entries(name, entries, limit) for name, entries in trial.entries.items()},
        cuts=[describe_cuts(name, each, limit, trial.context, new_tokens) for name, each in trial.entries.items()],
        context=trial.context,
        max_new_tokens=new_tokens,
        batching=config.train.batching,
        batchings=compare_batchings(trial.outline, trial.data.train, config.train, end),
    )


def _shown_rows(path: Path, entries: Entries) -> list[int]:
    """Return the first entry with an input, the first without one, and the first that is cut."""
    import pyarrow.parquet as pq

    inputs: Sequence[str] = pq.read_table(path, columns=["input"])["input"].to_pylist()
    cut = whole_lengths(entries) > entries.lengths
    tests = ([bool(text) for text in inputs], [not text for text in inputs], cut.tolist())
    return list(dict.fromkeys(each.index(True) for each in tests if any(each)))


def _cost(trial: _Trial, process: int, found: InstructionCheck) -> None:
    """Estimate what a run would take, and put it into `found`."""
    config, device = trial.config, trial.device
    rehearsal = Rehearsal(trial.outlined, trial.learnt, device, trial.words)
    memory = estimate_memory(
        trial.outline,
        config.model,
        config.train,
        rehearsal.learn([trial.workload.heaviest()] * min(config.train.accumulate, 2)),
        rehearsal.evaluate(*trial.workload.heaviest_evaluated()),
        device,
        process + TRACKING,
        trial.data.train.ids.nbytes + trial.data.validation.ids.nbytes,
    )
    found.cost = Cost(
        device=device.type,
        precision=trial.precision,
        parameters=count_parameters(trial.outline),
        plan=plan(config.train, len(trial.data.train)),
        memory=memory,
        timing=None,
    )
    generating = pick_precision(config.generation.precision, device)
    shape, prompts = config.model.shape, trial.test.prompts
    answering = answering_bytes(shape, memory.weights, trial.words, prompts, config.generation, generating)
    answering += memory.process + memory.data
    if max(memory.total, answering) < memory.available:
        _time(trial, answering, generating, found.cost, found)


def _time(trial: _Trial, memory: int, precision: str, cost: Cost, found: InstructionCheck) -> None:
    """Measure some steps, and some turns of generation."""
    config = trial.config
    recipe = (config.model, config.lora, config.train, trial.words)
    network = or_missing(lambda: build_gpt(*recipe, trial.weights), found) or build_gpt(*recipe, None)
    texts = _columns(trial.splits.path("test.parquet"))
    prompts = make_prompts(trial.template, trial.encoding, *texts)
    end = end_of_text(trial.encoding)
    pace = time_decoding(network, prompts, config.generation, end, trial.device, precision)
    lengths, responses = trial.test.prompts, whole_lengths(trial.test) - trial.test.prompts
    most = most_tokens(lengths, config.generation, trial.context)
    like = most_tokens(lengths, config.generation, trial.context, responses)
    size = rows_at_once(config.model.shape, int(lengths.max()), config.generation, precision)
    seconds, most_seconds = pace.seconds(lengths, like, size), pace.seconds(lengths, most, size)
    found.answering = Answering(entries=len(lengths), memory=memory, seconds=seconds, most_seconds=most_seconds)
    sampled = trial.data.validation.prompts[:1]
    sample = pace.seconds(sampled, sampled * 0 + SAMPLE_TOKENS, 1)
    stopwatch = Stopwatch(network, trial.learnt(network), trial.workload, trial.device)
    # The starting model does not know when to end.
    cost.timing = stopwatch.time(cost.plan, sample, after=lambda _forward: seconds + most_seconds)


def _columns(path: Path) -> tuple[list[str], list[str]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["instruction", "input"])
    return table["instruction"].to_pylist(), table["input"].to_pylist()
