"""Run the benchmarks, print one table, keep what was measured: `python -m benchmarks [ONLY...]`."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import overhead
from benchmarks.machine import Machine
from benchmarks.report import Benchmark, table

BENCHMARKS: dict[str, Callable[[int], Benchmark]] = {"overhead": overhead.measure}
RESULTS = Path(__file__).with_name("results")


def main(
    only: Annotated[list[str] | None, typer.Argument(help=f"Which: {', '.join(BENCHMARKS)}. All if none.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often each thing is measured; the median counts.")] = 3,
    results: Annotated[Path, typer.Option(help="The folder that a file for each benchmark goes to.")] = RESULTS,
) -> None:
    """Run the benchmarks one after the other, print one table, and write one file for each."""
    names = only or list(BENCHMARKS)
    if unknown := sorted(set(names) - BENCHMARKS.keys()):
        raise typer.BadParameter(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    notes = Console(stderr=True)
    machine = Machine.this()
    if machine.is_busy:
        notes.print("[yellow]this machine is busy with something else: the figures are worth little[/yellow]")
    measured = []
    for name in names:
        notes.print(f"{name}: {runs} runs")
        measured.append(BENCHMARKS[name](runs))
        path = measured[-1].write(results, machine, date.today())
        notes.print(f"{name}: written to {path}", soft_wrap=True)
    Console().print(table(measured, machine))


if __name__ == "__main__":
    typer.run(main)
