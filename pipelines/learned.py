"""What two runs' models, and those that they continue, were trained on: no row of it is a test of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.data.split.folding import fold
from components.evaluation.paired.matching import Pairs, read_scored
from components.learned import NO_ANCESTRY, Ancestry
from components.tracking.reading import RecordedRun
from components.tracking.registry.lineage import ancestors_of, learned_by
from pipelines.kinds import kind_named, names_of


def ancestry_of(run: RecordedRun, home: Path) -> Ancestry:
    """Return what the models that a run's goes back to were trained on.

    Raises:
        TrackingError: if the store cannot be read.
    """
    chain = ancestors_of(run.run_id, home)
    return learned_by(chain, lambda path: read_scored(path, fold).learned, home) if chain else NO_ANCESTRY


def unknown_ancestors(runs: Iterable[RecordedRun], ancestries: Iterable[Ancestry]) -> list[str]:
    """Return a line for each model that one of some runs continues and whose training rows are not known."""
    found = [
        f"run {run.run_id[:8]} went on from {model}, which may have been trained on some of these rows"
        for run, ancestry in zip(runs, ancestries, strict=True)
        for model in ancestry.unknown(names_of(kind_named(run.pipeline)))
    ]
    return list(dict.fromkeys(found))


def common_rows(found: Pairs[Any]) -> str:
    """Name the rows that two runs are compared on."""
    if found.same_test_set and not found.left_out:
        return f"the same {found.rows:,} test rows"
    if not found.left_out and not all(found.learned_known):
        return f"the {found.rows:,} test rows that both have"
    neither = "neither, nor a model that one of them continues," if found.by_ancestors else "neither"
    return f"the {found.rows:,} test rows that both have and {neither} was trained on"
