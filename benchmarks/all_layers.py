"""The spam classifier with all layers trained from random weights, by preset `spam` and by the tutorial's own code.

As benchmark `spam`, but that every layer trains, with the tutorial's constant learning rate: nothing can be computed
ahead. What makes ours faster is bf16, no padding, attention by all scores, memory that is kept between steps, and
embedding rows that no text needs left out.

One seed is trained and timed from splits to accuracies. The accuracies of all three stand in `all_layers.json`, which
`python -m benchmarks.all_layers` measures; that the one trained here comes out as there is a figure of its own. The
tutorial's accuracy of this experiment is the published one (its row "random weights, all layers").
"""

import json
from pathlib import Path
from statistics import mean

from benchmarks import tutorial_spam
from benchmarks.report import Benchmark, Figure, times_faster
from benchmarks.spam import notes
from benchmarks.subject import SMALL, size, targets
from benchmarks.tutorial_spam import SEEDS, configure, run, splits, time_tutorial, warm_up

ACCURACIES = Path(__file__).with_name("all_layers.json")
ALL = "train.trainable=all"
RECIPE = (ALL, "train.learning_rate=5e-5", "train.schedule=constant", "train.warmup=0")
"""Preset `spam`, which keeps the last weights, with the tutorial's learning rate."""
PUBLISHED = 93.67
"""Test accuracy in per cent; see shared/data/tutorial-spam-experiments.csv."""


def measure() -> Benchmark:
    """Measure row 3 of the performance targets."""
    seed = SEEDS[0]
    kept = on_file() if size() == SMALL else {}
    with splits() as dealt:
        warm_up(dealt, "spam")
        ours = run(dealt, configure("spam", seed, *RECIPE))
        peer = time_tutorial(dealt, seed, ALL)
    what = "all layers, from splits to accuracies, against the tutorial"
    figures = [
        times_faster(what, [ours.seconds], [peer.seconds], *targets((10, 14))),
        Figure("ours", [ours.seconds]),
        Figure("the tutorial, scaled", [peer.seconds]),
        *(accuracies(kept, 100 * ours.accuracies["test"]) if kept else []),
    ]
    return Benchmark("all_layers", f"{__doc__}\n{tutorial_spam.__doc__}", figures, notes([ours], [peer])[:2])


def accuracies(kept: dict[str, float], here: float) -> list[Figure]:
    """Return the test accuracies `kept` on file by seed, and how far the one measured `here` is from the first."""
    apart = abs(here - kept[str(SEEDS[0])])
    return [
        Figure("test accuracy, mean of seeds", [mean(kept.values())], 94, 95, "%", more_is_better=True),
        Figure("test accuracy by seed", list(kept.values()), unit="%"),
        Figure("test accuracy of the seed trained here, from that on file", [apart], 1, 0.1, "%"),
        Figure("test accuracy of the tutorial, published", [PUBLISHED], unit="%"),
    ]


def on_file() -> dict[str, float]:
    """Return the test accuracies of all seeds, in per cent."""
    if not ACCURACIES.is_file():
        raise SystemExit(f"all_layers: there is no {ACCURACIES.name}; measure it with python -m benchmarks.all_layers")
    return {seed: 100 * share for seed, share in json.loads(ACCURACIES.read_text())["test"].items()}


def main() -> None:
    """Measure the accuracies of all seeds."""
    with splits() as dealt:
        found = {str(seed): run(dealt, configure("spam", seed, *RECIPE)).accuracies["test"] for seed in SEEDS}
    how = f"124M, random weights, preset spam with {' '.join(RECIPE)} on the rows of spam-book, 5 epochs"
    ACCURACIES.write_text(json.dumps({"how": how, "test": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
