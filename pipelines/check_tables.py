"""What is shown of every check: the data, the lengths of its rows, and what a run would take."""

from collections.abc import Iterable, Iterator, Mapping

from components.core.records import Facts
from components.training.planning.estimate import Cost, Memory
from pipelines.shown import ASIDE, PROBLEM, TITLE, WARNING, Shown, duration, line, size, table, table_of, tokens

BAR = 40
"""Characters of the longest bar."""
EXPECTATIONS = {"name": "expectation", "status": "status", "expected": "expected", "observed": "observed"}
PAIRS = {"validation": "validation in train", "test": "test in train", "test_validation": "test in validation"}
TWICE = {"exact": "word for word", "folded": "once folded", "near": "near duplicates too"}
PEAKS = {
    "training": "while it trains",
    "saving": "while the model is written",
    "loading": "while the starting weights are read",
}
HELD = {"process": "interpreter and libraries", "data": "tokens of the data", "weights": "weights"}
"""Parts of the memory that are held all the time."""
PARTS = {name: name for name in ("gradients", "optimiser", "activations", "logits")} | {"copies": "copies of weights"}
TIMES = {
    "step": "one step",
    "evaluation": "one evaluation",
    "training": "all steps",
    "evaluating": "all evaluations",
    "frozen": "blocks that do not train, once",
}


def show_data(data: Facts, counts: Mapping[str, Mapping[str, int]], rows: str) -> Iterator[Shown]:
    """Yield what validation and split say; `rows` says what must not stand in two splits."""
    yield line(f"data: {data['url']}, {data['rows']:,} rows, {data['rows_used']:,} of them used", TITLE)
    yield from (line(note, WARNING) for note in data["notes"])
    yield table_of((each | {"status": _status(each)} for each in data["expectations"]), EXPECTATIONS)
    yield line(f"report: {data['report']}")
    names = list(next(iter(counts.values())))
    lines = [(stage, *(each[name] for name in names), sum(each.values())) for stage, each in counts.items()]
    yield table(("rows", *names, "all"), lines)
    twice = ({"near": "not looked for", "pair": PAIRS[pair]} | each for pair, each in data["overlap"].items())
    yield table_of(twice, {"pair": f"{rows} that stand twice"} | TWICE)
    yield from (line(warning, WARNING) for warning in data["split_warnings"])


def _status(expectation: Facts) -> str:
    if expectation["success"] is None:
        return "not evaluated"
    left_out = f"{expectation['failing_rows']} rows left out" if expectation["failing_rows"] else "warning"
    return "passed" if expectation["success"] else left_out


def show_lengths(lengths: Iterable[Facts], titles: dict[str, str], what: str) -> Iterator[Shown]:
    """Yield a table of lengths (`planning.preview`) by percentile and then by `titles`, and bars of the first."""
    every = [each | each["percentiles"] for each in lengths]
    names = {name: name for name in every[0]["percentiles"]}
    yield table_of(every, {"split": "split"} | names | titles)
    bars, most = every[0]["bars"], max(bar["texts"] for bar in every[0]["bars"])
    rows = ((f"{bar['first']} to {bar['last']}", bar["texts"], "█" * -(-bar["texts"] * BAR // most)) for bar in bars)
    yield table(("tokens", f"{what} in train", ""), rows)


def show_sample(sample: Facts, marks: tuple[str, str], said: str) -> Iterator[Shown]:
    """Yield the tokens of a sample (`planning.preview`), their ids, and what else is said of it."""
    yield tokens(sample["pieces"], marks, sample.get("learnt"))
    yield line(f"  ids {' '.join(map(str, sample['ids']))}", ASIDE)
    yield line(f"  {said}")


def show_cost(cost: Cost, later: Mapping[str, float], answering: int) -> Iterator[Shown]:
    """Yield what trains, and what it takes.

    `later` are the seconds of what comes after training, and `answering` the bytes of generating the test split's
    responses, 0 if that is not part of the run.
    """
    yield line("what trains", TITLE)
    every, trained = (sum(getattr(part, name) for part in cost.parameters) for name in ("parameters", "trained"))
    rows = [(part.name, part.parameters, part.trained) for part in cost.parameters]
    yield table(("part", "parameters", "trained"), [*rows, ("all", every, f"{trained:,} ({trained / every:.1%})")])
    plan, memory = cost.plan, dict(_memory(cost.memory, answering))
    yield line(f"{plan.steps:,} steps, {plan.steps_per_epoch:,} an epoch, and {plan.evaluations:,} evaluations", TITLE)
    yield table(("memory at the peak", f"estimated on {cost.device} in {cost.precision}"), memory.items())
    if any(amount.startswith("(") for amount in memory.values()):
        yield line(f"The peak is {PEAKS[cost.memory.peak]}; what stands in brackets is not held then.")
    if cost.timing:
        found = {name: taken for key, name in TIMES.items() if (taken := getattr(cost.timing, key))}
        seconds = found | {**later, "all": cost.timing.total}
        yield table(("time", "estimated"), [(name, duration(each)) for name, each in seconds.items()])
    else:
        yield line("no time estimated: this would not fit into the memory that is free", PROBLEM)


def _memory(memory: Memory, answering: int) -> Iterator[tuple[str, str]]:
    """Yield the parts of a run's memory, in brackets what is not held at its peak, and sums."""
    for part, name in (HELD | PARTS).items():
        if count := getattr(memory, part):
            yield name, size(count) if part in HELD or part in memory.held else f"({size(count)})"
    if memory.rest:
        yield "gaps between them" if memory.rest > 0 else "not held all at once", size(memory.rest)
    yield "all", size(memory.total)
    if answering:
        yield "all, while the test split is answered", size(answering)
    yield "free", size(memory.available)
