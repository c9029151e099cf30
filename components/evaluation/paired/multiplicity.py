"""Which of many metrics may be called different, so that of equal models few comparisons name a winner in any.

One metric, chosen ahead, decides, and is tested by itself; all others are corrected together. Of the 5 % of
comparisons of equals that may name a winner, 4 % are spent on the one and 1 % on the others, which have all of the 5 %
where the one differs: the fallback procedure (Wiens, "A fixed sequence Bonferroni procedure for testing multiple
endpoints", 2003), with Holm's step-down procedure for the others (Holm, "A simple sequentially rejective multiple test
procedure", 1979).
"""

from collections.abc import Mapping

LEVEL = 0.05
"""The largest share of comparisons of equals that name a winner in any metric."""
PRIMARY_LEVEL = 0.04
OTHERS_LEVEL = LEVEL - PRIMARY_LEVEL


def different(primary: str, p_values: Mapping[str, float]) -> frozenset[str]:
    """Return the names of the metrics that differ by more than chance.

    Args:
        primary: the metric that decides; it may be missing.
        p_values: two-sided, of each metric by itself.
    """
    found = {primary} if p_values.get(primary, 1.0) < PRIMARY_LEVEL else set()
    others = {name: p for name, p in p_values.items() if name != primary}
    return frozenset(found | _holm(others, LEVEL if found else OTHERS_LEVEL))


def _holm(p_values: Mapping[str, float], level: float) -> set[str]:
    found: set[str] = set()
    for left, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda each: each[1])):
        if p_value > level / (len(p_values) - left):
            break
        found.add(name)
    return found
