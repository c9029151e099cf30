"""Peak memory of instruction fine-tuning: all layers, adapters (LoRA), adapters with gradient checkpointing.

The step `fine_tune` of the recipe `instruct` (355M, tied head, batch 8, only responses learnt, rows of like length
together) takes 4 steps on `instruction-data.json`, evaluates before and after with a sample response, and saves the
model; weights are random, since no others can be had everywhere. Every run is a process of its own, and its figure is
the most that was resident at one time from its start to its end, libraries included (`VmHWM`). The batches are the same
in all of them: the 4 first that the recipe's seed draws.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.machine import peak
from benchmarks.report import Benchmark, Figure

ROOT = Path(__file__).parents[1]
ENTRIES = "instruction-data.json"
RUNS = 1
STEPS = 4

RECIPES: dict[str, dict[str, object]] = {
    "all layers": {"trainable": "all"},
    "LoRA": {"trainable": "lora"},
    "LoRA, gradient checkpointing": {"trainable": "lora", "gradient_checkpointing": True},
}


def measure(runs: int = RUNS) -> Benchmark:
    """Measure row 9 of the performance targets: the peak of each kind of training, and LoRA's share of the whole."""
    with TemporaryDirectory() as folder:
        write_splits(Path(folder))
        peaks = {name: [peak_of(Path(folder), recipe) for _ in range(runs)] for name, recipe in RECIPES.items()}
    whole = peaks["all layers"]
    figures = [Figure(name, gigabytes, unit="GB") for name, gigabytes in peaks.items()]
    for name in list(RECIPES)[1:]:
        share = [100 * lora / everything for lora, everything in zip(peaks[name], whole, strict=True)]
        figures.append(Figure(f"{name}, of all layers", share, must=50, unit="%"))
    return Benchmark("memory", str(__doc__), figures)


def write_splits(folder: Path) -> None:
    """Write the tutorial's entries to `folder`, split by the steps that the recipe runs before training."""
    from components.data.download import download
    from components.data.sources import InstructionSourceConfig
    from components.data.split.config import InstructionSplitConfig
    from components.data.split.instructions import split_instructions

    mirror = os.environ.get("GRADUS_MIRROR")
    if mirror is None or not Path(mirror, ENTRIES).is_file():
        raise SystemExit(f"set GRADUS_MIRROR to a folder that holds {ENTRIES}")
    (folder / "raw").mkdir()
    download(InstructionSourceConfig(url=str(Path(mirror, ENTRIES))), folder / "downloads", None, folder / "raw")
    split_instructions(folder / "raw/table.parquet", InstructionSplitConfig(), folder)


def peak_of(folder: Path, recipe: dict[str, object]) -> float:
    """Train in a process of its own; return the most memory that it had, in GB."""
    command = [sys.executable, "-m", "benchmarks.memory", str(folder), json.dumps(recipe)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"training {recipe} failed:\n{done.stderr[-3000:]}")
    return int(done.stdout.splitlines()[-1]) / 1e9


def train(splits: Path, recipe: dict[str, object], out: Path) -> None:
    """Take a few steps of the recipe, as the step `fine_tune` does."""
    from components.core.home import mirror
    from components.core.records import NoLogger
    from components.models.config import ModelConfig
    from components.prompts import PromptConfig
    from components.tasks.instruction import _sample_response
    from components.training.config import InstructionTrainConfig
    from components.training.fine_tuning import Splits, Start
    from components.training.instruction import fine_tune

    model = ModelConfig(size="355M", weights="random")
    config = InstructionTrainConfig.model_validate(
        {"batch_size": 8, "max_steps": STEPS, "eval_every": STEPS, "device": "cpu"} | recipe
    )
    paths = Splits(splits / "train.parquet", splits / "validation.parquet")
    start = Start(model, mirror=mirror())
    fine_tune(paths, PromptConfig(), start, config, NoLogger(), _sample_response, out)


if __name__ == "__main__":
    with TemporaryDirectory(dir=sys.argv[1]) as trained:
        train(Path(sys.argv[1]), json.loads(sys.argv[2]), Path(trained))
    print(peak())
