"""What was measured, as a table on the terminal and as a file that is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

from rich.table import Table

from benchmarks.machine import Machine

COLUMNS = ("what", "median", "from", "to", "must", "aim", "met")


@dataclass(frozen=True)
class Figure:
    """Seconds that one thing took, a value for each run, and what they should stay below."""

    what: str
    values: Sequence[float]
    must: float | None = None
    aim: float | None = None

    @property
    def median(self) -> float:
        """The value that counts."""
        return median(self.values)

    @property
    def met(self) -> str:
        """Whether the median is below `must`, or even below `aim`; empty where nothing is claimed."""
        if self.must is None:
            return ""
        if self.aim is not None and self.median < self.aim:
            return "aim"
        return "yes" if self.median < self.must else "NO"

    def every(self) -> str:
        """Return the value of every run, in order."""
        return ", ".join(f"{value:.2f}" for value in self.values)

    def row(self) -> tuple[str, ...]:
        """Return the cells of this figure, one for each of `COLUMNS`."""
        spread = (self.median, min(self.values), max(self.values), self.must, self.aim)
        return (self.what, *("" if value is None else f"{value:.2f}" for value in spread), self.met)


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: its name, how it was done, and its figures."""

    name: str
    how: str
    figures: Sequence[Figure]

    def write(self, folder: Path, machine: Machine, day: date) -> Path:
        """Write `<name>_<hardware>_<date>.md` to `folder`, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}_{machine.slug}_{day.isoformat()}.md"
        path.write_text(self.markdown(machine, day))
        return path

    def markdown(self, machine: Machine, day: date) -> str:
        """Return the page: what was measured, on what, how, and every single value."""
        about = [f"- {name}: {value}" for name, value in machine.describe().items()]
        every = [f"- {figure.what}: {figure.every()}" for figure in self.figures]
        rows = [COLUMNS, ["---"] * len(COLUMNS), *(figure.row() for figure in self.figures)]
        return "\n".join(
            [
                f"# {self.name}, {day.isoformat()}\n",
                *about,
                "\n## Measured, in seconds\n",
                *(f"| {' | '.join(row)} |" for row in rows),
                "\n## Every run, in order\n",
                *every,
                f"\n## How\n\n{self.how.strip()}\n",
            ]
        )


def table(benchmarks: Sequence[Benchmark], machine: Machine) -> Table:
    """Return one table with the figures of all benchmarks."""
    shown = Table("benchmark", *COLUMNS, title=f"{machine.cpu}, {machine.cores} cores; seconds", title_justify="left")
    for benchmark in benchmarks:
        for figure in benchmark.figures:
            shown.add_row(benchmark.name, *figure.row())
        shown.add_section()
    return shown
