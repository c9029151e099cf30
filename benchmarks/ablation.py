"""What each fast path gains: the benchmark that it is for, shortened, with it and without it, in turn.

`python -m benchmarks.ablation [PATH...]`, names as in `components.models.fast`, all if none; of the others, the table
keeps what was measured before. Every run is a process of its own, and does once, untimed, what warms it up. `--avx2`
measures a processor without AVX-512 and bf16: PyTorch and oneDNN are told to leave both unused. `--beside N` lets N
programs compute beside it. Time gained is the share of the time without the path that it saves, the median of the
rounds and from the lowest to the highest; memory gained likewise, of the most that was resident (`VmHWM`). A path stays
if it gains 5 % of time or 10 % of memory (`stays`).
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks.__main__ import RESULTS
from benchmarks.machine import Machine, peak
from components.core.records import Manifest

ROOT = Path(__file__).parents[1]
SPLITS = "GRADUS_ABLATION_SPLITS"
"""The variable that gives a child the manifest of the splits, which are made once."""
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
TUNED = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0", "GOMP_SPINCOUNT": "1000"}
UNTUNED = {
    "no thread cache": {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"},
    "short waits": {"GOMP_SPINCOUNT": "300000"},
}
"""Not paths of a network, but what `pipelines.cli.start.reexec_tuned` tells libraries, and their defaults."""
TIME, MEMORY = 5, 10
"""Per cent that a path has to gain."""


@dataclass(frozen=True)
class Run:
    """Seconds of a run, and its peak in bytes."""

    seconds: float
    peak: int


@dataclass(frozen=True)
class Gain:
    """What a path gains in a job: per cent of time and of peak memory, a value for each round."""

    path: str
    job: str
    time: list[float]
    memory: list[float]
    seconds: float
    """Median with the path."""
    gigabytes: float
    """Median peak with the path."""
    day: str = "2026-11-28"
    """When it was measured; files of earlier days do not say so."""

    @property
    def stays(self) -> bool:
        """Whether it gains enough."""
        return median(self.time) >= TIME or median(self.memory) >= MEMORY

    def row(self) -> tuple[str, ...]:
        """Return the cells of this gain, one for each of `COLUMNS`."""
        spread = (f"{median(each):.1f} ({min(each):.1f} to {max(each):.1f})" for each in (self.time, self.memory))
        kept = "yes" if self.stays else "no"
        return (
            self.path,
            self.job,
            *spread,
            f"{self.seconds:.1f}",
            f"{self.gigabytes:.2f}",
            str(len(self.time)),
            self.day,
            kept,
        )


COLUMNS = (
    *("path", "benchmark", "time gained, %", "memory gained, %", "seconds with it", "GB with it"),
    *("rounds", "measured on", "stays"),
)


def spam() -> float:
    """Benchmark 1, one epoch: what is computed once for all epochs gains more in its five."""
    from benchmarks.tutorial_spam import SEEDS, configure, run, warm_up

    warm_up(_dealt(), "spam")
    return run(_dealt(), configure("spam", SEEDS[0], "train.epochs=1")).seconds


def all_layers() -> float:
    """Benchmark 3, its first 20 steps, without evaluations."""
    from benchmarks.all_layers import RECIPE
    from benchmarks.tutorial_spam import SEEDS, configure, environment
    from components.tasks import fetch_weights, fine_tune

    def train(steps: int, *more: str) -> float:
        short = ("train.keep=last", "train.eval_every=1000", "train.eval_batches=1", f"train.max_steps={steps}", *more)
        config = configure("spam", SEEDS[0], *RECIPE, *short)
        with TemporaryDirectory() as folder, environment(GRADUS_HOME=folder):
            weights = fetch_weights.without_prefect(config.model)
            return fine_tune.without_prefect(_dealt(), weights, config.model, config.train).seconds

    train(1, "model.size={layers: 2, heads: 1, width: 8, context: 1024}")  # warms up
    return train(20)


def instruction() -> float:
    """Benchmark 4, one round of ours."""
    from benchmarks.instruction import BATCH, STEPS, ours, tokenised
    from benchmarks.subject import gpt2

    contestant = ours(gpt2(), tokenised(gpt2()), mask_prompt=False)
    contestant.compete()
    return STEPS * BATCH / contestant.rates[0]


def generation() -> float:
    """Benchmark 5, 64 tokens of ours."""
    from benchmarks.generation import SHORT

    return _generate(SHORT)


def few_tokens() -> float:
    """Benchmark 5, the first 8 tokens of ours: reading every text anew for each of 64 would take half an hour."""
    return _generate(8)


def _generate(tokens: int) -> float:
    from benchmarks.generation import Task, timed
    from benchmarks.subject import gpt2, precision

    task = Task(gpt2())
    task.answer(2, precision())
    return timed(lambda: task.answer(tokens, precision()))[0]


JOBS: dict[str, Callable[[], float]] = {
    each.__name__: each for each in (spam, all_layers, instruction, generation, few_tokens)
}
MEASURED = {
    "cached features": ("spam",),
    "folding": ("spam",),
    "packed weights": ("spam", "generation"),
    "kept memory": ("all_layers", "instruction"),
    "short attention": ("all_layers", "instruction"),
    "no padding": ("all_layers",),
    "shared prefixes": ("instruction",),
    "used rows": ("all_layers",),
    "key-value cache": ("few_tokens",),
    "embedding bags": ("generation",),
    "no thread cache": ("instruction",),
    "short waits": ("all_layers", "instruction", "generation"),
}
"""The benchmarks that each path is measured in."""
IN_BF16 = ("short attention",)
"""Paths that are not taken in fp32, so not measured with `--avx2`."""


def main(
    paths: Annotated[list[str] | None, typer.Argument(help="Which, by name; all if none.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each is measured.")] = 3,
    avx2: Annotated[bool, typer.Option("--avx2", help="Measure as a processor with AVX2 alone would be.")] = False,
    beside: Annotated[int, typer.Option(help="Programs beside it, each of which keeps one core busy.")] = 0,
    results: Annotated[Path, typer.Option(help="The folder that the table goes to.")] = RESULTS,
) -> None:
    """Measure what fast paths gain, print a table, and write it and every run to a folder."""
    from components.models.fast import PATHS

    chosen = paths or [path for path in MEASURED if path in PATHS or path in UNTUNED]
    chosen = [path for path in chosen if not avx2 or path not in IN_BF16]
    if unknown := [path for path in chosen if path not in MEASURED]:
        raise typer.BadParameter(f"{unknown[0]!r} is not measured; there are: {', '.join(MEASURED)}")
    machine = Machine.this()
    with _splits_for_children(), _busy_programs(beside):
        gains = [gain for job in JOBS for gain in measure(job, [p for p in chosen if job in MEASURED[p]], rounds, avx2)]
    if beside:
        gains = [replace(gain, job=f"{gain.job}, beside {beside} busy") for gain in gains]
    file = results / f"ablation-{machine.slug}{'-avx2' if avx2 else ''}.json"
    gains = sorted(_with_earlier(gains, file), key=lambda gain: (gain.job, gain.path))
    page = markdown(gains, machine, avx2)
    results.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".md").write_text(page)
    file.write_text(json.dumps([asdict(gain) for gain in gains], indent=1) + "\n")
    print(page)


def _with_earlier(gains: list[Gain], file: Path) -> list[Gain]:
    """Return what was measured now, and of what was measured before on this hardware what was not measured now."""
    earlier = [Gain(**each) for each in json.loads(file.read_text())] if file.exists() else []
    now = {(gain.path, gain.job) for gain in gains}
    return gains + [gain for gain in earlier if (gain.path, gain.job) not in now]


def measure(job: str, paths: list[str], rounds: int, avx2: bool) -> list[Gain]:
    """Return what paths gain in a job: each round runs it with all of them, then without each."""
    if not paths:
        return []
    runs: dict[str, list[Run]] = {path: [] for path in ("", *paths)}
    for _ in range(rounds):
        for path, found in runs.items():
            found.append(run_in_child(job, path, avx2))
    return [_gain(path, job, runs[""], runs[path]) for path in paths]


def _gain(path: str, job: str, with_it: list[Run], without_it: list[Run]) -> Gain:
    pairs = list(zip(with_it, without_it, strict=True))
    return Gain(
        path,
        job,
        [100 * (1 - on.seconds / off.seconds) for on, off in pairs],
        [100 * (1 - on.peak / off.peak) for on, off in pairs],
        median(on.seconds for on in with_it),
        median(on.peak for on in with_it) / 1e9,
        date.today().isoformat(),
    )


def run_in_child(job: str, path: str, avx2: bool) -> Run:
    """Run a job without a path, or with all (empty)."""
    environment = os.environ | (AVX2 if avx2 else {}) | TUNED | UNTUNED.get(path, {})
    command = [sys.executable, "-m", "benchmarks.ablation", "--child", job, path]
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{job} without {path or 'nothing'} failed:\n{done.stderr[-3000:]}")
    run = Run(**json.loads(done.stdout.splitlines()[-1]))
    print(f"{job} without {path or 'nothing'}: {run.seconds:.2f} s, {run.peak / 1e9:.2f} GB", file=sys.stderr)
    return run


def markdown(gains: list[Gain], machine: Machine, avx2: bool) -> str:
    """Return the table as a page."""
    about = machine.describe() | ({"told to use": "AVX2 alone"} if avx2 else {})
    rows = [COLUMNS, ["---"] * len(COLUMNS), *(gain.row() for gain in gains)]
    return "\n".join(
        [
            "# What fast paths gain\n",
            *(f"- {name}: {value}" for name, value in about.items()),
            "",
            *(f"| {' | '.join(row)} |" for row in rows),
            f"\n{__doc__.strip()}\n",
        ]
    )


@contextmanager
def _splits_for_children() -> Iterator[None]:
    from benchmarks.tutorial_spam import environment, splits

    with splits() as dealt, environment(**{SPLITS: dealt.model_dump_json()}):
        yield


@contextmanager
def _busy_programs(count: int) -> Iterator[None]:
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _dealt() -> Manifest:
    return Manifest.model_validate_json(os.environ[SPLITS])


def child(job: str, path: str) -> None:
    """Run a job without a path, and print seconds and peak."""
    from components.models.fast import PATHS, without

    with without(*({path} & set(PATHS))):
        seconds = JOBS[job]()
    print(json.dumps({"seconds": seconds, "peak": peak()}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:4])
    else:
        typer.run(main)
