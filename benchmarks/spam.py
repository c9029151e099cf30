"""The spam classifier, by preset `spam` and by the tutorial's own code, on the tutorial's rows.

124M from the same random weights. Its last block, final norm and head are trained for 5 epochs on the 1,045 rows of
`spam-book`, with the tutorial's evaluations (every 50 steps, 5 batches of train and validation) and final accuracies
on all three splits. Ours is preset `spam`: bf16 where the processor multiplies in it, the last token pooled, no
padding. The tutorial computes in fp32, pads every text to 120 tokens and reads the last position. Both keep their last
weights; ours lets the learning rate rise to 2e-4 and fall to 0, the tutorial's is 5e-5 throughout. Both take turns on
the same number of threads, with another seed each time.
"""

from math import ceil
from statistics import mean

from benchmarks import tutorial_spam
from benchmarks.report import Benchmark, Figure, times_faster
from benchmarks.subject import SMALL, size, targets
from benchmarks.tutorial_spam import SEEDS, STEPS, Ours, Peer, configure, run, splits, time_tutorial, warm_up


def measure() -> Benchmark:
    """Measure row 1 of the performance targets."""
    ours: list[Ours] = []
    peers: list[Peer] = []
    with splits() as dealt:
        warm_up(dealt, "spam")
        for seed in SEEDS:
            ours.append(run(dealt, configure("spam", seed)))
            peers.append(time_tutorial(dealt, seed, timed=ceil(STEPS / len(SEEDS))))
    figures = [
        times_faster(
            "spam, from splits to accuracies, against the tutorial",
            [each.seconds for each in ours],
            [each.seconds for each in peers],
            *targets(bf16=(40, 60), fp32=(24, 30)),
        ),
        Figure("ours", [each.seconds for each in ours]),
        Figure("the tutorial, scaled", [each.seconds for each in peers]),
        *accuracies(ours),
    ]
    return Benchmark("spam", f"{__doc__}\n{tutorial_spam.__doc__}", figures, notes(ours, peers))


def accuracies(ours: list[Ours]) -> list[Figure]:
    """Return our test accuracies, beside those of the tutorial where they are on file."""
    found = [100 * each.accuracies["test"] for each in ours]
    by_seed = Figure("test accuracy by seed", found, unit="%")
    if size() != SMALL:
        return [by_seed]
    theirs = [100 * tutorial_spam.tutorial_accuracies()[str(seed)]["test"] for seed in SEEDS]
    return [
        Figure("test accuracy, mean of seeds", [mean(found)], must=mean(theirs), unit="%", more_is_better=True),
        by_seed,
        Figure("test accuracy of the tutorial by seed", theirs, unit="%"),
    ]


def notes(ours: list[Ours], peers: list[Peer]) -> list[str]:
    """Say where the time goes, and what was scaled."""
    parts = {step: mean(each.parts[step] for each in ours) for step in ours[0].parts}
    return [
        "seconds inside our steps: " + ", ".join(f"{step} {seconds:.1f}" for step, seconds in parts.items()),
        f"the tutorial: {peers[0].step:.2f} s a step, {peers[0].evaluation:.1f} s an evaluation; "
        f"in each turn {len(peers[0].losses) - 1} steps and an evaluation were timed, and scaled to the whole",
        "the tutorial's accuracies are those of benchmarks/spam_accuracies.json, which says how they were measured",
    ]
