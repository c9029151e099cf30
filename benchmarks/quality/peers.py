"""Who a preset's run is measured beside, each in a process of its own: `python -m benchmarks.quality.peers`.

A peer gets the very split files of our run, from the store, and the preset's recipe and seed.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.quality.outcomes import METRIC, UNTOUCHED, Outcome, Outcomes
from benchmarks.quality.product import run_process
from components.core.home import home
from pipelines.config import PipelineConfig, load_config

PEERS = {
    "instruction": {"3-shot": "few_shot", "transformers": "chat_peer"},
    "classification": {UNTOUCHED: "asked_for_labels", "transformers": "label_peer"},
}
"""By pipeline, what a peer is called and the module beside this one whose `answer` asks it."""

ENCODERS = ("banking77",)
"""Presets whose model writes nothing before it is trained, so that it cannot be asked."""


@dataclass(frozen=True)
class Answered:
    """What a peer made of the test rows."""

    train_rows: int
    rows: Sequence[int]
    """The numbers of the test rows."""
    values: Sequence[float]
    """As in `Outcome`."""
    minutes: float | None = None
    """Of training."""
    trained_parameters: int | None = None
    note: str = ""
    drawn: bool = True
    """Whether another seed would have come to something else."""


def peers_of(preset: str) -> list[str]:
    """Return the names of a preset's peers: `transformers` trains all parameters, a batch a step, or nothing.

    A network of random weights has none: there is nothing to ask before, and no other one that begins with the same.
    """
    config: Any = load_config(preset)
    if config.model.weights == "random":
        return []
    left_out = {UNTOUCHED} if preset in ENCODERS else set()
    if config.train.trainable != "all" or config.train.accumulate > 1:
        left_out.add("transformers")
    return [who for who in PEERS[config.pipeline] if who not in left_out]


def run_peer(preset: str, who: str, seed: int) -> Outcomes:
    """Ask a peer in a process of its own, so that its memory can be told.

    Raises:
        benchmarks.quality.product.Failed: if that process fails.
    """
    ran = run_process(sys.executable, "-m", "benchmarks.quality.peers", preset, who, str(seed))
    found = Answered(**json.loads(ran.output))
    outcome = Outcome(
        who=who,
        seed=seed if found.drawn else None,
        values=list(found.values),
        day=date.today().isoformat(),
        trained_parameters=found.trained_parameters,
        cost=ran.cost(found.minutes, trained=True) if found.minutes else None,
        versions=ran.machine.versions,
        note=found.note,
    )
    metric = METRIC[load_config(preset).pipeline]
    return Outcomes(
        preset=preset, metric=metric, train_rows=found.train_rows, rows=list(found.rows), outcomes=[outcome]
    )


def work_folder(preset: str, who: str, seed: int) -> Path:
    """Return the folder in which a peer keeps what it goes on from."""
    folder = home() / "peers" / f"{preset}-{who}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main(preset: str, who: str, seed: str) -> None:
    """Write what a peer made of a preset's test rows to standard output, as JSON."""
    config: Any = load_config(preset, [f"train.seed={seed}"])
    module = import_module(f"benchmarks.quality.{PEERS[config.pipeline][who]}")
    answer: Callable[[PipelineConfig, Path], Answered] = module.answer
    output, sys.stdout = sys.stdout, sys.stderr  # libraries write there as well
    found = answer(config, work_folder(preset, who, int(seed)))
    output.write(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(*sys.argv[1:])
