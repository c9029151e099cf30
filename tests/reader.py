"""Somebody who follows a page of the documentation in an empty folder, without a network."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from tests.pages import OUTPUT, Block
from tests.patience import PATIENCE

SETTINGS = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(PATIENCE),
    # Nothing answers at this port: whatever would leave the machine fails at once.
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
    "COLUMNS": "120",
}
ROWS = 20
"""A table with fewer rows than this is a sample of one."""
WORDS = [("apple", "bread", "candle", "dinner", "evening", "forest"), ("cheap", "quick", "great", "sweet", "sunny")]
RUN_ID = r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,32}\b"


class Reader:
    """Somebody who follows a page: types its commands, saves its files, compares what comes out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "empty"
        self.folder.mkdir()
        ours = ("PYTHON", "GRADUS", "PREFECT", "MLFLOW", "TIKTOKEN")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        homes = {"PREFECT_HOME": str(folder / "prefect"), "HF_HOME": str(folder / "hub")}
        self.environment = kept | SETTINGS | homes | {"PATH": path}
        self.exports: list[str] = []
        self.ids: dict[str, str] = {}
        """The runs that the page names, and the real one for each."""
        self.runs: list[str] = []
        self.said: str | None = None
        """What the last commands under this heading printed, until it is compared."""
        self.heading = ""

    def meet(self, block: Block, commands: list[str]) -> None:
        """Do what a block is for: save it, type those of its commands that are to be run, or compare it."""
        if block.heading != self.heading:
            self.heading, self.said = block.heading, None
        if name := block.saved_as:
            (self.folder / name).write_text(lengthened(block.text, Path(name).suffix))
        elif block.is_shell:
            self.said = self.type("\n".join(commands)) if commands else None
        elif self.said is not None and block.language in OUTPUT:
            self.compare(block.text, self.said)
            self.said = None

    def type(self, script: str) -> str:
        script = self.with_real_ids(script)
        whole = "\n".join(["set -eo pipefail", *self.exports, script])
        done = subprocess.run(
            ["bash", "-c", whole],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=-1,
            stderr=-2,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{script}\nexit code {done.returncode}\n{done.stdout[-3000:]}"
        self.exports += re.findall(r"^(?:export|cd) .*", script, re.MULTILINE)
        self.runs += [run for run in runs_in(done.stdout) if run not in self.runs]
        return done.stdout

    def with_real_ids(self, script: str) -> str:
        """Put the runs of this reader where the page has the runs of its writer."""

        def real(match: re.Match[str]) -> str:
            written = match[0]
            same = (known for known in self.ids if known.startswith(written) or written.startswith(known))
            if (known := next(same, "")) == "":
                known = written
                self.ids[known] = next(run for run in self.runs if run not in self.ids.values())
            return self.ids[known]

        return re.sub(RUN_ID, real, script)

    def compare(self, promised: str, said: str) -> None:
        """Look for what a page promises, piece by piece between its `...`, in what a command printed."""
        self.ids |= dict(zip(runs_in(promised), runs_in(said), strict=False))
        rest = stable(said)
        for piece in re.split(r"\s*(?:\.\.\.|…)\s*", stable(promised).strip()):
            assert piece in rest, difference(piece, rest)
            rest = rest[rest.index(piece) + len(piece) :]


def runs_in(output: str) -> list[str]:
    return re.findall(rf"(?:^run +|\"run_id\": ?\")({RUN_ID})", output, re.MULTILINE)


def difference(piece: str, printed: str) -> str:
    """Say where what a page promises leaves what was printed."""
    words = piece.split()
    kept = next(count for count in range(len(words), -1, -1) if " ".join(words[:count]) in printed)
    start, rest = " ".join(words[:kept]), " ".join(words[kept:])
    return f"after\n{start}\nthe page has\n{rest}\nbut printed was\n{printed[printed.index(start) + len(start) :]}"


def lengthened(text: str, suffix: str) -> str:
    """Make a table of the few rows that a page shows: each with different words behind its longest cell."""
    lines = [line for line in text.splitlines() if line.strip() not in {"", "..."}]
    if suffix not in {".csv", ".tsv", ".jsonl"} or len(lines) > ROWS:
        return text
    if suffix == ".jsonl":
        return "".join(json.dumps(row) + "\n" for line in lines for row in varied(json.loads(line)))
    delimiter = "\t" if suffix == ".tsv" else ","
    head, *rows = csv.reader(lines, delimiter=delimiter)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(row.values() for cells in rows for row in varied(dict(enumerate(cells))))
    return out.getvalue()


def varied(row: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
    longest = max(row, key=lambda name: len(str(row[name])))
    for words in product(*WORDS):
        # Words of their own too: texts that differ in two words only are near duplicates, and stay in one split.
        own = ["".join(words), "".join(reversed(words)), "-".join(words)]
        yield row | {longest: " ".join([row[longest], *words, *own])}


def stable(text: str) -> str:
    """Take from an output what differs from run to run: numbers, ids, widths of tables, line breaks."""
    text = re.sub(RUN_ID, "ID", re.sub(r"\x1b\[[0-9;]*m", "", text))
    text = re.sub(r"[\u2500-\u257f]", " ", text)
    text = re.sub(r"-?\d+([.,]\d+)*(e-?\d+)?", "N", text)
    return re.sub(r"\s+", " ", re.sub(r"p [<=] N", "p N", text))
