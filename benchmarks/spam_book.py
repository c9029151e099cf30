"""The spam classifier with the tutorial's exact semantics, by preset `spam-book` and by the tutorial's own code.

As benchmark `spam`, but that ours pads every text to 120 tokens as well, reads the last position, computes in fp32 and
keeps the last weights. The losses of the first 50 steps of both have to be equal within 1e-3.
"""

from benchmarks import tutorial_spam
from benchmarks.report import Benchmark, Figure, times_faster
from benchmarks.spam import notes
from benchmarks.tutorial_spam import SEEDS, STEPS, configure, run, splits, time_tutorial, warm_up

TOLERANCE = 1e-3


def measure() -> Benchmark:
    """Measure row 2 of the performance targets."""
    seed = SEEDS[0]
    with splits() as dealt:
        warm_up(dealt, "spam-book")
        ours = run(dealt, configure("spam-book", seed))
        peer = time_tutorial(dealt, seed)
    apart = max(abs(mine - theirs) for mine, theirs in zip(ours.losses[:STEPS], peer.losses[:STEPS], strict=True))
    what = "spam-book, from splits to accuracies, against the tutorial"
    figures = [
        times_faster(what, [ours.seconds], [peer.seconds], must=6, aim=10),
        Figure("ours", [ours.seconds]),
        Figure("the tutorial, scaled", [peer.seconds]),
        Figure(
            f"losses of the first {STEPS} steps, largest difference in 1/1000",
            [1000 * apart],
            1000 * TOLERANCE,
            unit="",
        ),
        Figure("test accuracy", [100 * ours.accuracies["test"]], unit="%"),
    ]
    return Benchmark("spam_book", f"{__doc__}\n{tutorial_spam.__doc__}", figures, notes([ours], [peer]))
