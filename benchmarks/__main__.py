"""Run the benchmarks, print one table, keep what was measured: `python -m benchmarks [ONLY...]`."""

import os
import time
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from benchmarks.machine import Machine
from benchmarks.report import Benchmark, table
from benchmarks.subject import SIZE, SMALL
from pipelines.cli.start import reexec_tuned

BENCHMARKS = {
    1: "spam",
    2: "spam_book",
    3: "all_layers",
    4: "instruction",
    5: "generation",
    6: "judging",
    7: "data",
    8: "overhead",
    9: "memory",
    10: "long_rows",
    11: "smollm2",
    12: "smollm2_generation",
    13: "serving_load",
    14: "encoder",
}
"""The modules of this package that measure something: `measure()` returns a `Benchmark`."""
SIZED = ("spam", "spam_book", "all_layers", "instruction", "generation", "long_rows")
"""Those whose network has a size."""
WITH_NETWORKS = (*SIZED, "smollm2", "smollm2_generation", "serving_load", "encoder")
"""Those that compute on the GPU if there is one."""
ON_GPU = ("long_rows",)
"""Those that would take too long without one."""
RESULTS = Path(__file__).with_name("results")
WIDTH_IN_FILES = 140
"""Characters in a line of the table where no terminal says how many fit."""


def main(
    only: Annotated[
        list[str] | None, typer.Argument(help="Which, by number or name (1,4 or spam). All if none.")
    ] = None,
    results: Annotated[Path, typer.Option(help="The folder that a file for each benchmark goes to.")] = RESULTS,
    size: Annotated[Literal["124M", "355M"], typer.Option(help="The size of the networks of 1 to 5 and 10.")] = SMALL,
) -> None:
    """Run the benchmarks one after the other, print one table, and write one file for each.

    1 spam, 2 spam_book, 3 all_layers, 4 instruction, 5 generation, 6 judging, 7 data, 8 overhead, 9 memory, 11 smollm2,
    12 smollm2_generation, 13 serving_load, 14 encoder; and 10 long_rows where there is a GPU, on which 1 to 5 and 11 to
    14 compute too. Targets are for two CPU cores, of 1 to 5 for 124M.
    """
    os.environ[SIZE] = size
    notes = Console(stderr=True)
    machine = Machine.this()
    names = chosen(",".join(only or []), with_gpu=machine.gpu is not None)
    if machine.is_busy:
        notes.print("[yellow]this machine is busy with something else: the figures are worth little[/yellow]")
    measured: list[Benchmark] = []
    for name in names:
        notes.print(f"{name} ...")
        started = time.monotonic()
        measured.append(_measured(name, size, machine))
        path = measured[-1].write(results, machine, date.today())
        minutes = (time.monotonic() - started) / 60
        notes.print(f"{name}: {minutes:.1f} minutes, written to {path}", soft_wrap=True)
    output = Console()
    if not output.is_terminal:
        output.width = WIDTH_IN_FILES
    output.print(table(measured, machine))
    if any(figure.met == "NO" for benchmark in measured for figure in benchmark.figures):
        raise typer.Exit(1)


def _measured(name: str, size: str, machine: Machine) -> Benchmark:
    benchmark: Benchmark = import_module(f"benchmarks.{name}").measure()
    if name not in WITH_NETWORKS:
        return benchmark
    if size != SMALL and name in SIZED:
        benchmark = benchmark.of_size(size)
    return benchmark.without_targets() if machine.gpu or (size != SMALL and name in SIZED) else benchmark


def chosen(only: str, with_gpu: bool) -> list[str]:
    """Return the names of the benchmarks that numbers or names with commas between them choose, in their order."""
    asked = {each.strip() for each in only.split(",") if each.strip()}
    known = {str(number): name for number, name in BENCHMARKS.items()} | {name: name for name in BENCHMARKS.values()}
    if unknown := sorted(asked - known.keys()):
        everything = ", ".join(f"{number} {name}" for number, name in BENCHMARKS.items())
        raise typer.BadParameter(f"there is no benchmark {unknown[0]!r}; there are: {everything}")
    names = {known[each] for each in asked}
    if not with_gpu and (impossible := sorted(names.intersection(ON_GPU))):
        raise typer.BadParameter(f"{impossible[0]} needs a GPU, and PyTorch finds none here; leave it out")
    possible = [name for name in BENCHMARKS.values() if with_gpu or name not in ON_GPU]
    return [name for name in possible if not names or name in names]


if __name__ == "__main__":
    reexec_tuned()  # as `gradus` does
    typer.run(main)
