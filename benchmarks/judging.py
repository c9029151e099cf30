"""Judging 1,000 responses by a server that has 8 slots and takes 50 ms for a verdict; then the same once more.

What is timed is the judging block: from the tables of responses, in a new process with an empty file of verdicts, to
`verdicts.parquet`. So the chrF of every response, with the library that computes it, and every commit count. Starting
Python, the block itself, and the libraries that a flow has loaded long before it judges (pandas, pyarrow, requests) do
not. The server is a process of its own (`judge_server.py`) that answers exactly 160 requests a second as
long as any wait, so that it cannot take less than 6.25 s for 1,000: the share is that of these 6.25 s in the time that
was measured. A bare client, which sends requests prepared in advance and throws the answers away, runs in turn with the
judging and shows that the server keeps to it. `judge.concurrency` is 16, twice the slots; it is 4 by default, which
keeps the 4 slots busy that Ollama has.

The responses are 5 to 60 random words, all different. The second judging starts from the first one's file of verdicts
in another new process; what it asks is counted by the server.
"""

import http.client
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from benchmarks.report import Benchmark, Figure

RESPONSES, SLOTS, SECONDS = 1_000, 8, 0.05
IDEAL = RESPONSES / SLOTS * SECONDS
CONCURRENCY = 2 * SLOTS
RUNS = 3

JUDGING = """
import sys, time
from pathlib import Path
import pandas, pyarrow.dataset, pyarrow.parquet, requests
from components.judging.config import JudgeConfig
from components.judging.judge import judge
table, cache, out, url, concurrency = sys.argv[1:]
config = JudgeConfig(url=url, also=(), concurrency=int(concurrency))
started = time.perf_counter()
judge({"model": Path(table)}, config, None, Path(cache), Path(out))
print(time.perf_counter() - started)
"""


def measure(runs: int = RUNS) -> Benchmark:
    """Measure row 6 of the performance targets: the share of what the server can do, and a judging that was done."""
    with TemporaryDirectory() as folder, server() as url:
        table = write_responses(Path(folder) / "responses.parquet")
        measured = [run(Path(folder) / str(number), table, url) for number in range(runs)]
    first, bare, second, asked = zip(*measured, strict=True)
    figures = [
        Figure("judging, share of what the server can do", share(first), 97, 99, "%", more_is_better=True),
        Figure("a bare client, share of what the server can do", share(bare), unit="%", more_is_better=True),
        Figure("judging 1,000 responses", first),
        Figure("judging them again", second, 1, 1),
        Figure("judging them again, verdicts asked for", asked, 0, 0, "requests"),
    ]
    return Benchmark("judging", str(__doc__), figures)


def share(seconds: tuple[float, ...]) -> list[float]:
    return [100 * IDEAL / each for each in seconds]


def run(folder: Path, table: Path, url: str) -> tuple[float, float, float, int]:
    """Return the seconds of a judging, a bare client and the judging again, and what the last one asked for."""
    folder.mkdir()
    first = judge(folder, table, url)
    bare = ask_barely(url)
    before = asked(url)
    second = judge(folder, table, url)
    return first, bare, second, asked(url) - before


def judge(folder: Path, table: Path, url: str) -> float:
    """Judge the table in a new process, with the verdicts that are in `folder`; return the seconds that it took."""
    arguments = [table, folder / "verdicts.sqlite", folder, url, CONCURRENCY]
    command = [sys.executable, "-c", JUDGING, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def ask_barely(url: str) -> float:
    """Send as many requests as a judging, as many at once, and nothing else; return the seconds that it took."""
    body = json.dumps({"model": "llama3", "messages": [{"role": "user", "content": "x" * 3_000}]}).encode()
    todo = iter(range(RESPONSES))

    def work() -> None:
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        while next(todo, None) is not None:
            connection.request("POST", "/api/chat", body)
            connection.getresponse().read()

    workers = [threading.Thread(target=work) for _ in range(CONCURRENCY)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started


def asked(url: str) -> int:
    """Return how many verdicts the server was asked for so far."""
    return int(requests.get(f"{url}/asked", timeout=10).json()["asked"])


def write_responses(path: Path) -> Path:
    """Write a table of responses, each another text than its reference and than every other response."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnoprstuvwy", k=draw.randint(2, 9))) for _ in range(2_000)]

    def text() -> str:
        return " ".join(draw.choices(words, k=draw.randint(5, 60)))

    rows = [
        {"row": row, "instruction": text(), "input": text(), "output": text(), "model_response": f"{row} {text()}"}
        for row in range(RESPONSES)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@contextmanager
def server() -> Iterator[str]:
    """Start the server, give its address, and stop it at the end."""
    command = [sys.executable, "-m", "benchmarks.judge_server", str(SLOTS), str(SECONDS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


if __name__ == "__main__":
    for figure in measure(1).figures:
        print(figure.what, figure.every(), figure.unit)
