"""What `gradus check` finds out about a preset of any kind and its data; nothing is trained.

What is special to a kind stands in its own `check.py`, as a `Check`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, Field
from rich.console import Console
from rich.text import Text
from torch import nn

from components.core.errors import WeightsError
from components.core.home import mirror
from components.core.records import Facts, Manifest
from components.models.devices import pick_device, pick_precision
from components.models.fast import fast_paths
from components.models.tokenizer import end_of_text, load_tokenizer
from components.models.weights import check_shapes
from components.tasks import download, fetch_weights
from components.tasks.shared import weights_folder
from components.training.fine_tuning import check_vocabulary
from components.training.loop import warmup_steps
from components.training.planning.estimate import Cost, Memory, count_parameters, estimate_memory, process_bytes
from components.training.planning.trial import Besides, Trial, time_training
from pipelines.config import PipelineConfig
from pipelines.kinds import part_of
from pipelines.refusals import refuse_early
from pipelines.shown import ASIDE, PROBLEM, TITLE, WARNING, Shown, duration, line, size, table, table_of, visible

Got = TypeVar("Got")

TRACKING = 300_000_000
"""Bytes by which MLflow, plots and baselines make the process of a run larger than that of a check, as measured."""
STRIPES = ("black on bright_green", "black on bright_cyan")
"""Styles that tokens take turns in."""
BAR = 40
"""Characters of the longest bar."""
EXPECTATIONS = {"name": "expectation", "status": "status", "expected": "expected", "observed": "observed"}
PAIRS = {"validation": "validation in train", "test": "test in train", "test_validation": "test in validation"}
TWICE = {"exact": "word for word", "folded": "once folded", "near": "near duplicates too"}
PEAKS = {
    "training": "while it trains",
    "sampling": "while a sample is decoded",
    "saving": "while the model is written",
    "loading": "while the starting weights are read",
}
HELD = {"process": "interpreter and libraries", "data": "data and what was made of it", "weights": "weights"}
"""Parts of the memory that are held all the time."""
PARTS = {name: name for name in ("gradients", "optimiser", "activations", "logits")} | {"copies": "copies of weights"}
TIMES = {
    "step": "one step",
    "evaluation": "one evaluation",
    "training": "all steps",
    "evaluating": "all evaluations",
    "frozen": "blocks that do not train, once",
}


class Found(BaseModel):
    """What a check finds out, as `--json` prints it; a kind adds what it alone finds."""

    preset: str
    missing: list[str] = Field(default=[], description="What could not be had, and how to get it.")
    data: Facts = Field(default={}, description="What the steps before training report, and which were done before.")
    texts: Facts | None = Field(default=None, description="What the tokenizer makes of the data.")
    cost: Cost | None = None
    shown: list[Any] = Field(default=[], exclude=True, description="All that is shown of it, in order.")


class Check(ABC):
    """A check of a config; its subclasses know what is special to their kind."""

    Found: ClassVar = Found
    rows: ClassVar[str]
    """What is not to stand in two splits."""
    splits: Manifest
    counts: Mapping[str, Mapping[str, int]]
    """Rows of the data, by stage, split or task, and by class."""
    bytes_later: int = 0
    """What generation takes after training, besides what the process has before."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.found: Any = self.Found(preset=config.name)

    @abstractmethod
    def bring(self, source: Manifest) -> tuple[Manifest, Facts]:
        """Validate a table and split it; set `splits` and `counts`, return the table and what is special about it."""

    @abstractmethod
    def prepare(self) -> Trial:
        """Tokenise the splits, find and show their `texts`, and return the training that would be."""

    @abstractmethod
    def network(self, weights: Path | None) -> nn.Module:
        """Return the network that training starts from."""

    @abstractmethod
    def time_besides(self, network: Any, token: float) -> Besides:
        """Return the seconds of what a run does besides learning; a token's forward pass takes `token`."""

    @abstractmethod
    def look_further(self) -> None:
        """Find and show what else there is."""

    def run(self, further: bool = True) -> Any:
        """Find out all there is, or nothing `further` than the cost, and return it."""
        process = process_bytes()  # before the steps, which a run takes from the store
        config = self.config
        refuse_early(config)
        self._bring_data()
        encoding = self.or_missing(lambda: load_tokenizer(config.model.tokenizer, mirror()))
        weights = self.or_missing(lambda: fetch_weights.without_prefect(config.model))
        if encoding is None:
            return self.found
        self.encoding, self.end = encoding, end_of_text(encoding)
        self.weights = weights_folder(weights) if weights else None
        check_vocabulary(self.weights, encoding)
        self.device = pick_device(config.train.device)
        self.precision = pick_precision(config.train.precision, self.device)
        with fast_paths(config.train.fast):
            trial = self.prepare()
            warmup_steps(config.train, trial.plan.steps)  # refuses what training would
            self._estimate(trial, process + TRACKING)
        if further:
            self.look_further()
        return self.found

    def show(self, *items: Shown) -> None:
        """Show lines, tables and tokens after what is shown already: a table below a title, or an empty line."""
        for item in items:
            if not isinstance(item, Text) and self.found.shown[-1].style != TITLE:
                self.found.shown.append(Text())
            self.found.shown.append(item)

    def _bring_data(self) -> None:
        source = download.without_prefect(self.config.source)
        table, special = self.bring(source)
        self.found.data = {
            "url": str(source.facts["url"]),
            **{name: source.facts[name] for name in ("notes", "unused")},
            "rows": table.facts["rows_in"],
            "rows_used": table.facts["rows_out"],
            **{name: table.facts[name] for name in ("expectations", "warnings")},
            "report": table.folder / "report.html",
            "overlap": self.splits.facts["overlap"],
            "split_warnings": self.splits.facts["warnings"],
            "cached_steps": [step.step for step in (source, table, self.splits) if step.cached],
            **special,
        }
        self.show(*show_data(self.found.data, self.counts, self.rows))

    def _estimate(self, trial: Trial, process: int) -> None:
        """Estimate what a run would take, and time some of its steps if it fits into memory."""
        memory, besides = estimate_memory(trial, process), Besides()
        cost = Cost(self.device.type, self.precision, count_parameters(trial.objective.model), trial.plan, memory)
        self.later = memory.process + memory.data + self.bytes_later
        if max(memory.total, self.later) < memory.available:
            network = self.or_missing(lambda: self.network(self.weights)) or self.network(None)
            cost.timing, besides = time_training(network, trial, lambda token: self.time_besides(network, token))
        elif self.weights:
            self.or_missing(partial(check_shapes, trial.objective.model, self.weights))
        self.found.cost = cost
        self.show(line(f"learning rate {self.config.train.learning_rate:g} at its highest", TITLE))
        self.show(*show_cost(cost, besides.later, self.later if self.bytes_later and cost.timing else 0))

    def or_missing(self, get: Callable[[], Got]) -> Got | None:
        """Return what `get` gets, or note why it cannot be had, or used, and go on without."""
        try:
            return get()
        except WeightsError as error:
            if str(error) not in self.found.missing:
                self.found.missing.append(str(error))
            return None


def check(config: PipelineConfig, further: bool = True) -> Any:
    """Validate a config and its data, and return the `Found` of its kind: what a run would train, and at what cost.

    What else there is to find out, such as what the untrained weights answer, is left out unless `further`.

    The steps before training are done as in a run, and a run takes them from the store. A judge that cannot be asked is
    no error here: there is time until the run comes to it.

    Raises:
        DataRejected: if the data does not pass.
        ConfigError: if the options do not fit the data or the machine, or nothing would be learnt.
        WeightsError: if the data cannot be validated without a vocabulary that is missing.
    """
    kind: type[Check] = part_of(config.pipeline, "check").Check
    return kind(config).run(further)


def show_data(data: Facts, counts: Mapping[str, Mapping[str, int]], rows: str) -> Iterator[Shown]:
    """Yield what validation and split found; `rows` says what must not stand in two splits."""
    yield line(f"data: {data['url']}, {data['rows']:,} rows, {data['rows_used']:,} of them used", TITLE)
    yield from (line(note, WARNING) for note in data["notes"])
    yield table_of((each | {"status": _status(each)} for each in data["expectations"]), EXPECTATIONS)
    yield line(f"report: {data['report']}")
    names = list(next(iter(counts.values())))
    lines = [(stage, *(each[name] for name in names), sum(each.values())) for stage, each in counts.items()]
    yield table(("rows", *names, "all"), lines)
    twice = ({"near": "not looked for", "pair": PAIRS[pair]} | each for pair, each in data["overlap"].items())
    yield table_of(twice, {"pair": f"{rows} that stand twice"} | TWICE)
    yield from (line(warning, WARNING) for warning in data["split_warnings"])


def _status(expectation: Facts) -> str:
    if expectation["success"] is None:
        return "not evaluated"
    left_out = f"{expectation['failing_rows']} rows left out" if expectation["failing_rows"] else "warning"
    return "passed" if expectation["success"] else left_out


def show_lengths(lengths: Iterable[Facts], titles: dict[str, str], what: str) -> Iterator[Shown]:
    """Yield a table of lengths (`planning.preview`) by percentile and then by `titles`, and bars of the first."""
    every = [each | each["percentiles"] for each in lengths]
    names = {name: name for name in every[0]["percentiles"]}
    yield table_of(every, {"split": "split"} | names | titles)
    bars, most = every[0]["bars"], max(bar["texts"] for bar in every[0]["bars"])
    rows = ((f"{bar['first']} to {bar['last']}", bar["texts"], "█" * -(-bar["texts"] * BAR // most)) for bar in bars)
    yield table(("tokens", f"{what} in train", ""), rows)


def show_sample(sample: Facts, marks: tuple[str, str], about: str) -> Iterator[Shown]:
    """Yield the tokens of a sample (`planning.preview`), their ids, and what else there is to say `about` it."""
    yield tokens(sample["pieces"], marks, sample.get("learnt"))
    yield line(f"  ids {' '.join(map(str, sample['ids']))}", ASIDE)
    yield line(f"  {about}")


def show_cost(cost: Cost, later: Mapping[str, float], answering: int) -> Iterator[Shown]:
    """Yield what trains, and what it takes.

    `later` are the seconds of what comes after training, and `answering` the bytes of generating the test split's
    responses, 0 if that is not part of the run.
    """
    yield line("what trains", TITLE)
    every, trained = (sum(getattr(part, name) for part in cost.parameters) for name in ("parameters", "trained"))
    rows = [(part.name, part.parameters, part.trained) for part in cost.parameters]
    yield table(("part", "parameters", "trained"), [*rows, ("all", every, f"{trained:,} ({trained / every:.1%})")])
    plan, memory = cost.plan, dict(_memory(cost.memory, answering))
    yield line(f"{plan.steps:,} steps, {plan.steps_per_epoch:,} an epoch, and {plan.evaluations:,} evaluations", TITLE)
    yield table(("memory at the peak", f"estimated on {cost.device} in {cost.precision}"), memory.items())
    if any(amount.startswith("(") for amount in memory.values()):
        yield line(f"The peak is {PEAKS[cost.memory.peak]}; what stands in brackets is not held then.")
    if cost.timing:
        found = {name: taken for key, name in TIMES.items() if (taken := getattr(cost.timing, key))}
        seconds = found | {**later, "all": cost.timing.total}
        yield table(("time", "estimated"), [(name, duration(each)) for name, each in seconds.items()])
    else:
        yield line("no time estimated: this would not fit into the memory that is free", PROBLEM)


def _memory(memory: Memory, answering: int) -> Iterator[tuple[str, str]]:
    """Yield the parts of a run's memory, in brackets what is not held at its peak, and sums."""
    for part, name in (HELD | PARTS).items():
        if count := getattr(memory, part):
            yield name, size(count) if part in HELD or part in memory.held else f"({size(count)})"
    if memory.rest:
        yield "gaps between them" if memory.rest > 0 else "not held all at once", size(memory.rest)
    yield "all", size(memory.total)
    if answering:
        yield "all, while the test split is answered", size(answering)
    yield "free", size(memory.available)


def tokens(
    pieces: Sequence[str], marks: tuple[str, str], learnt: Sequence[bool] | None = None, colour: bool | None = None
) -> Text:
    """Return tokens with their boundaries to be seen; line breaks stay, each with a sign of its own.

    Of each `learnt` says whether it stands out, None if all do: in a `colour`, which None takes where the terminal has
    some, or between two `marks`.
    """
    colour = bool(Console().color_system) if colour is None else colour
    text = Text()
    every = zip(learnt or [True] * len(pieces), pieces, strict=True)
    for stands_out, group in groupby(every, key=lambda token: token[0]):
        shown = [visible(piece, "⏎\n") for _, piece in group]
        if not stands_out:
            text.append("".join(shown), ASIDE)
        elif colour:
            text.append_text(Text.assemble(*((piece, STRIPES[place % 2]) for place, piece in enumerate(shown))))
        else:
            text.append(f"{marks[0]}{'|'.join(shown)}{marks[1]}")
    return Text("  ") + Text("\n  ").join(text.split("\n", allow_blank=True))
