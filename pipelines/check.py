"""What `gradus check` finds out about a preset of any kind and its data; nothing is trained.

What is special to a kind stands in its own `check.py`, as a `Check`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, Field
from rich.text import Text
from torch import nn

from components.core.errors import WeightsError
from components.core.home import mirror
from components.core.records import Facts, Manifest
from components.models.devices import pick_device, pick_precision
from components.models.fast import fast_paths
from components.models.tokenizer import end_of_text, load_tokenizer
from components.tasks import download, fetch_weights
from components.tasks.shared import weights_folder
from components.training.fine_tuning import check_vocabulary
from components.training.loop import warmup_steps
from components.training.planning.estimate import Cost, count_parameters, estimate_memory, process_bytes
from components.training.planning.trial import Besides, Trial, time_training
from pipelines.config import PipelineConfig
from pipelines.kinds import part_of
from pipelines.refusals import refuse_early
from pipelines.shown import TITLE, Shown, line, show_cost, show_data

Got = TypeVar("Got")

TRACKING = 300_000_000
"""Bytes by which MLflow, plots and baselines make the process of a run larger than that of a check, as measured."""


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

    def run(self) -> Any:
        """Find out all there is, and return it."""
        process = process_bytes()  # before the steps, which a run takes from the store
        config = self.config
        refuse_early(config)
        self._bring_data()
        encoding = self._or_missing(lambda: load_tokenizer(config.model.tokenizer, mirror()))
        weights = self._or_missing(lambda: fetch_weights.without_prefect(config.model))
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
            network = self._or_missing(lambda: self.network(self.weights)) or self.network(None)
            cost.timing, besides = time_training(network, trial, lambda token: self.time_besides(network, token))
        self.found.cost = cost
        self.show(line(f"learning rate {self.config.train.learning_rate:g} at its highest", TITLE))
        self.show(*show_cost(cost, besides.later, self.later if self.bytes_later and cost.timing else 0))

    def _or_missing(self, get: Callable[[], Got]) -> Got | None:
        """Return what `get` gets, or note why it cannot be had, or used, and go on without."""
        try:
            return get()
        except WeightsError as error:
            if str(error) not in self.found.missing:
                self.found.missing.append(str(error))
            return None


def check(config: PipelineConfig) -> Any:
    """Validate a config and its data, and return the `Found` of its kind: what a run would train, and at what cost.

    The steps before training are done as in a run, and a run takes them from the store. A judge that cannot be asked is
    no error here: there is time until the run comes to it.

    Raises:
        DataRejected: if the data does not pass.
        ConfigError: if the options do not fit the data or the machine, or nothing would be learnt.
        WeightsError: if the data cannot be validated without a vocabulary that is missing.
    """
    kind: type[Check] = part_of(config.pipeline, "check").Check
    return kind(config).run()
