"""Ours alone, by two checkouts in turn: `python -m benchmarks.before_after BEFORE AFTER`, two folders with a .venv.

Benchmarks 1, 2, 3, 8 and 9 without their peers, which are the same for both: what ours takes is compared. Every
measurement is a process of its own in the folder of its checkout, and does once, untimed, what warms it up. Printed is
a Markdown table: the median of each, the lowest and highest, and the change from round to round.
"""

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

TRAINING = """
from benchmarks.tutorial_spam import SEEDS, configure, run, splits, warm_up
{imports}
with splits() as dealt:
    warm_up(dealt, "{preset}")
    values = {{"seconds": run(dealt, configure("{preset}", SEEDS[0]{more})).seconds}}
"""
MEMORY = """
from pathlib import Path
from tempfile import TemporaryDirectory
from benchmarks.memory import RECIPES, peak_of, write_splits
with TemporaryDirectory() as folder:
    write_splits(Path(folder))
    values = {f"{name}, GB": peak_of(Path(folder), recipe) for name, recipe in RECIPES.items()}
"""
OVERHEAD = """
from pathlib import Path
from benchmarks.overhead import environment, gradus, run_twice, run_with_server
gradus("--help", env=environment(Path("unused")))
values = {"gradus --help": gradus("--help", env=environment(Path("unused")))[0]}
values["run less its steps, given server"] = run_with_server()
whole, inside, second = run_twice()
values |= {"run less its steps, own server": whole - inside, "unchanged run": second}
"""
JOBS = {
    "1 spam": TRAINING.format(imports="", preset="spam", more=""),
    "2 spam_book": TRAINING.format(imports="", preset="spam-book", more=""),
    "3 all_layers": TRAINING.format(
        imports="from benchmarks.all_layers import RECIPE", preset="spam", more=", *RECIPE"
    ),
    "8 overhead": OVERHEAD,
    "9 memory": MEMORY,
}
PRINTED = "\nimport json\nprint(json.dumps(values))"
HEAD = ("benchmark", "before", "after", "change, %")


def main(
    before: Annotated[Path, typer.Argument(help="The checkout before.")],
    after: Annotated[Path, typer.Argument(help="The checkout after.")],
    only: Annotated[str, typer.Option(help="Numbers of benchmarks, with commas between.")] = "1,2,3,8,9",
    rounds: Annotated[int, typer.Option(help="How often each is measured.")] = 3,
) -> None:
    """Measure both in turn, and print how they differ."""
    print(f"| {' | '.join(HEAD)} |\n| --- | --- | --- | --- |")
    for name, code in JOBS.items():
        if name.split()[0] in only.split(","):
            pairs = [(measured(before, code), measured(after, code)) for _ in range(rounds)]
            for what in pairs[0][0]:
                print(row(f"{name}: {what}", [(old[what], new[what]) for old, new in pairs]), flush=True)


def measured(checkout: Path, code: str) -> dict[str, float]:
    """Return what code measures in a checkout."""
    python = checkout.resolve() / ".venv/bin/python"
    done = subprocess.run([python, "-c", code + PRINTED], check=False, cwd=checkout, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{checkout}: {done.stderr[-3000:]}")
    values: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(checkout, values, file=sys.stderr)
    return values


def row(name: str, pairs: list[tuple[float, float]]) -> str:
    """Return a line of the table."""
    old, new = zip(*pairs, strict=True)
    changes = [100 * (after / before - 1) for before, after in pairs]
    cells = [f"{median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in (old, new)]
    change = f"{median(changes):+.1f} ({min(changes):+.1f} to {max(changes):+.1f})"
    return f"| {' | '.join([name, *cells, change])} |"


if __name__ == "__main__":
    typer.run(main)
