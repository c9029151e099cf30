"""What was measured, as a table on the terminal and as a file that is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from statistics import median

from rich.table import Table

from benchmarks.machine import Machine

COLUMNS = ("what", "unit", "median", "from", "to", "must", "aim", "met")


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, a value for each run, and what it should be: as little as can be, or as much.

    `unit` is what a value counts: `s`, `GB`, `%`, `examples/s`, or `x` for how many times faster than a peer.
    """

    what: str
    values: Sequence[float]
    must: float | None = None
    aim: float | None = None
    unit: str = "s"
    more_is_better: bool = False

    @property
    def median(self) -> float:
        """The value that counts."""
        return median(self.values)

    @property
    def met(self) -> str:
        """Whether the median keeps to `must`, or even to `aim`; empty where nothing is claimed."""
        if self.must is None:
            return ""
        if self.aim is not None and self._keeps(self.aim):
            return "aim"
        return "yes" if self._keeps(self.must) else "NO"

    def every(self) -> str:
        """Return the value of every run, in order."""
        return ", ".join(f"{value:.4g}" for value in self.values)

    def row(self) -> tuple[str, ...]:
        """Return the cells of this figure, one for each of `COLUMNS`."""
        spread = (self.median, min(self.values), max(self.values), self.must, self.aim)
        cells = ("" if value is None else f"{value:.2f}" for value in spread)
        return (self.what, self.unit, *cells, self.met)

    def _keeps(self, target: float) -> bool:
        return self.median >= target if self.more_is_better else self.median <= target


def times_faster(
    what: str, ours: Sequence[float], peers: Sequence[float], must: float | None, aim: float | None
) -> Figure:
    """Return how many times faster than the peer we are, pair by pair; `ours` and `peers` are seconds, in turn."""
    ratios = [theirs / own for own, theirs in zip(ours, peers, strict=True)]
    return Figure(what, ratios, must, aim, unit="x", more_is_better=True)


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: its name, how it was done, its figures, and what else a reader has to know (`notes`)."""

    name: str
    how: str
    figures: Sequence[Figure]
    notes: Sequence[str] = field(default=())

    def of_size(self, size: str) -> "Benchmark":
        """Return the benchmark with the size of its networks in its name."""
        return replace(self, name=f"{self.name}-{size.lower()}")

    def without_targets(self) -> "Benchmark":
        """Return the benchmark with figures that nothing is claimed of."""
        return replace(self, figures=[replace(figure, must=None, aim=None) for figure in self.figures])

    def write(self, folder: Path, machine: Machine, day: date) -> Path:
        """Write `<name>_<hardware>_<date>.md` to `folder`, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}_{machine.slug}_{day.isoformat()}.md"
        path.write_text(self.markdown(machine, day))
        return path

    def markdown(self, machine: Machine, day: date) -> str:
        """Return the page: what was measured, on what, how, and every single value."""
        about = [f"- {name}: {value}" for name, value in machine.describe().items()]
        every = [f"- {figure.what}: {figure.every()} {figure.unit}" for figure in self.figures]
        rows = [COLUMNS, ["---"] * len(COLUMNS), *(figure.row() for figure in self.figures)]
        notes = ["\n## Notes\n", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join(
            [
                f"# {self.name}, {day.isoformat()}\n",
                *about,
                "\n## Measured\n",
                *(f"| {' | '.join(row)} |" for row in rows),
                "\n## Every run, in order\n",
                *every,
                *notes,
                f"\n## How\n\n{self.how.strip()}\n",
            ]
        )


def table(benchmarks: Sequence[Benchmark], machine: Machine) -> Table:
    """Return one table with the figures of all benchmarks."""
    shown = Table("benchmark", *COLUMNS, title=machine.name, title_justify="left")
    for benchmark in benchmarks:
        for figure in benchmark.figures:
            shown.add_row(benchmark.name, *figure.row())
        shown.add_section()
    return shown
