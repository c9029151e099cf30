"""The data path of classification: from a file of lines to three balanced splits in Parquet.

The steps `download` (of a local file), `validate` and `split`, called one after the other in a process of its own:
read, validate with Great Expectations, find duplicates, deal to train, validation and test (near duplicates together,
labels in the same shares), undersample, write. The file is generated before (`benchmarks/messages.py`). Seconds are
those of the steps, without the start of Python and without imports; memory is the most that was resident at one time
from the start of the process to its end, libraries included (`VmHWM`).

The peer does the same in one piece with pandas (`benchmarks/data_peer.py`): the whole frame in memory, the same
expectations in one go, the same folding of texts, and the split over columns instead of rows. It runs in turn with
ours; with 10 million rows it runs once, where the machine has the memory.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TypedDict

from benchmarks.machine import peak
from benchmarks.messages import LABELS, write_messages
from benchmarks.report import Benchmark, Figure

ROOT = Path(__file__).parents[1]
RUNS = 3
FEW, MANY = 1_000_000, 10_000_000
PEER_MEMORY = 12e9
"""Bytes that have to be free for the peer to take many rows."""


class Measured(TypedDict):
    """What one process took: seconds by step, and bytes at its peak."""

    seconds: dict[str, float]
    peak: int


def measure(runs: int = RUNS) -> Benchmark:
    """Measure row 7 of the performance targets: seconds and memory for 1 and 10 million rows, against pandas."""
    with TemporaryDirectory() as folder:
        few, many = Path(folder, "few.tsv"), Path(folder, "many.tsv")
        write_messages(few, FEW)
        pairs = [(measured("ours", few), measured("peer", few)) for _ in range(runs)]
        write_messages(many, MANY)
        large = measured("ours", many)
        peer = measured("peer", many) if _free() > PEER_MEMORY else None
    ours, peers = [total(own) for own, _ in pairs], [total(theirs) for _, theirs in pairs]
    figures = [
        Figure("1 million rows", ours),
        Figure("1 million rows, pandas", peers),
        Figure(
            "1 million rows, times faster than pandas",
            [theirs / own for own, theirs in zip(ours, peers, strict=True)],
            must=1,
            unit="x",
            more_is_better=True,
        ),
        Figure("10 million rows", [total(large)]),
        Figure("10 million rows, times as long as 1 million", [total(large) / median(ours)], must=12, aim=11, unit="x"),
        Figure("peak memory, 1 million rows", [own["peak"] / 1e9 for own, _ in pairs], unit="GB"),
        Figure("peak memory, 1 million rows, pandas", [theirs["peak"] / 1e9 for _, theirs in pairs], unit="GB"),
        Figure("peak memory, 10 million rows", [large["peak"] / 1e9], must=2, unit="GB"),
    ]
    if peer:
        figures += [
            Figure("10 million rows, pandas", [total(peer)]),
            Figure("peak memory, 10 million rows, pandas", [peer["peak"] / 1e9], unit="GB"),
        ]
    notes = [_by_step(f"{FEW:,} rows", pairs[-1][0]), _by_step(f"{FEW:,} rows, pandas", pairs[-1][1])]
    notes.append(_by_step(f"{MANY:,} rows", large))
    return Benchmark("data", str(__doc__), figures, notes)


def measured(who: str, table: Path) -> Measured:
    """Run `ours` or the `peer` in a process of its own, on a file of messages."""
    with TemporaryDirectory(dir=table.parent) as folder:
        command = [sys.executable, "-m", "benchmarks.data", who, str(table), folder]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{who} failed:\n{done.stderr[-3000:]}")
    found: Measured = json.loads(done.stdout.splitlines()[-1])
    return found


def total(measured: Measured) -> float:
    """Return the seconds of all steps."""
    return sum(measured["seconds"].values())


def our_steps(table: Path, out: Path) -> dict[str, Callable[[], object]]:
    """Return the steps of the flow as the recipe `spam` has them; what they need is imported."""
    from components.data.download import download
    from components.data.sources import SourceConfig
    from components.data.split.config import BalanceConfig, SplitConfig
    from components.data.split.labelled import split
    from components.data.validation.engine import Engine
    from components.data.validation.labelled import validate
    from components.data.validation.rules import ValidationConfig

    Engine()
    source = SourceConfig(
        url=str(table),
        format="tsv",
        header=False,
        quoting="none",
        columns={"label": 0, "text": 1},
        max_bytes=1 << 33,
    )
    rules, balance = ValidationConfig(labels=LABELS), BalanceConfig(method="undersample")
    raw, valid, dealt = (out / name for name in ("download", "validate", "split"))
    for folder in (raw, valid, dealt):
        folder.mkdir()
    return {
        "download": lambda: download(source, out / "downloads", None, raw),
        "validate": lambda: validate(raw / "table.parquet", rules, valid),
        "split": lambda: split(valid / "table.parquet", SplitConfig(), balance, LABELS, dealt),
    }


def _by_step(what: str, measured: Measured) -> str:
    steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in measured["seconds"].items())
    return f"{what}, by step: {steps}"


def _free() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


def _run(who: str, table: Path, out: Path) -> Measured:
    from benchmarks.data_peer import peer_steps

    steps = (our_steps if who == "ours" else peer_steps)(table, out)
    seconds = {}
    for name, step in steps.items():
        started = time.perf_counter()
        step()
        seconds[name] = time.perf_counter() - started
    return {"seconds": seconds, "peak": peak()}


if __name__ == "__main__":
    print(json.dumps(_run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
