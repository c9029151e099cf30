"""How a classifier did beside a champion, or beside the majority class, on test rows that neither has learned from."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from components.core.errors import NotComparable
from components.data.folding import fold
from components.evaluation.comparison import compare_predictions
from components.evaluation.metrics import Predictions
from components.evaluation.non_inferiority import FEWEST_ROWS, accuracy_difference
from components.evaluation.pairing import Pairs, Scored, read_scored
from components.models.saved import LoadedClassifier
from components.tracking.reading import PREDICTIONS, RecordedRun, Registered, predictions_of
from pipelines.comparison import is_ordered, pair_runs, sentence
from pipelines.learned import ancestry_of, common_rows, unknown_ancestors
from pipelines.loading import load_version
from pipelines.measured import Measured

FIGURE = "test/accuracy"
"""What a run records of it."""
MARGIN = 0.01
"""How much worse a candidate may be, as a share of right ones, unless somebody says otherwise."""


def check_margin(margin: float) -> bool:
    """Say whether a margin is one of accuracies."""
    return 0 <= margin < 1


def beside_champion(
    champion: Registered,
    other: RecordedRun,
    run: RecordedRun,
    names: tuple[str, str],
    home: Path,
    anew: bool = True,
) -> Measured | None:
    """Compare a candidate's predictions with a champion's, which predicts anew where they share too few test rows.

    Args:
        champion: the champion, of now or of earlier.
        other: the run that made it.
        run: the candidate's run.
        names: what to call champion and candidate.
        home: the folder of the local store.
        anew: whether the champion may be run, if its run and the candidate's share too few rows; else that is None.

    Raises:
        NotComparable: if there is nothing to compare.
        TrackingError: if the store cannot be read.
    """
    try:
        found = pair_runs(other, run, home)
    except NotComparable:
        found = None
    if isinstance(found, str):
        raise NotComparable(found)
    if found is None or found.rows < FEWEST_ROWS:
        return None if not anew else _predicted_anew(champion, other, run, names[0], home)
    return Measured(
        accuracy_difference(found.second.correct, found.first.correct),
        common_rows(found),
        notes=_notes([other, run], found),
        detail=sentence(compare_predictions(found.first, found.second, is_ordered([other, run])), found, *names),
    )


def beside_baseline(run: RecordedRun, home: Path) -> tuple[Measured, str]:
    """Compare a candidate with the most frequent label of its test rows; also return what to call that.

    Raises:
        NotComparable: if it left no predictions, or has learned from all of its test rows.
        TrackingError: if the store cannot be read.
    """
    scored, unseen, _ = _tested(run, home)
    said = scored.take(np.flatnonzero(unseen))
    majority = np.bincount(said.truth).argmax()
    difference = accuracy_difference(said.correct, said.truth == majority)
    notes = tuple(unknown_ancestors([run], [scored.ancestry]))
    return Measured(difference, _of_the_tested(len(said.truth), len(scored)), notes=notes), "the majority class"


def _predicted_anew(champion: Registered, other: RecordedRun, run: RecordedRun, name: str, home: Path) -> Measured:
    """Let a champion predict the candidate's test rows, less those that either has learned from."""
    scored, unseen, texts = _tested(run, home)
    learned = _read(other, home)
    unseen &= ~np.isin(scored.folded, np.concatenate([learned.learned, learned.ancestry.rows]))
    if not unseen.any():
        raise NotComparable(f"{name} or the new model has learned from all {len(scored):,} test rows of the latter")
    model = load_version(champion, home)
    if not isinstance(model, LoadedClassifier) or set(model.card.labels) != set(scored.labels):
        raise NotComparable(f"{name} tells other labels apart: {', '.join(getattr(model.card, 'labels', ['none']))}")
    rows = np.flatnonzero(unseen)
    said = scored.take(rows)
    probabilities = model.predict(texts.iloc[rows].tolist())[[f"p_{label}" for label in scored.labels]]
    predicted = Predictions(said.truth, probabilities.to_numpy(np.float64))
    where = f"{_of_the_tested(len(rows), len(scored))} of the new model, which {name} was run on,"
    pairs = Pairs(predicted, said, len(learned), len(scored), len(rows), bool(len(learned.learned)))
    pairs = replace(pairs, ancestry=(learned.ancestry, scored.ancestry))
    difference = accuracy_difference(said.correct, predicted.correct)
    return Measured(difference, where, notes=_notes([other, run], pairs), anew=True)


def _tested(run: RecordedRun, home: Path) -> "tuple[Scored, np.ndarray, pd.Series[str]]":
    """Return what a run said of its test rows, which of them no model of its line has learned from, and their texts."""
    with predictions_of(run, home) as path:
        if path is None:
            raise NotComparable(f"run {run.run_id[:8]} left no {PREDICTIONS}: there is nothing to test on")
        scored = replace(read_scored(path, fold), ancestry=ancestry_of(run, home))
        rows = pd.read_parquet(path, columns=["split", "text"])
    texts = rows.loc[rows["split"] == "test", "text"]
    unseen = ~np.isin(scored.folded, np.concatenate([scored.learned, scored.ancestry.rows]))
    if not unseen.any():
        raise NotComparable(
            f"run {run.run_id[:8]}, or a model that it continues, has learned from all of its test rows"
        )
    return scored, unseen, texts


def _read(run: RecordedRun, home: Path) -> Scored:
    with ExitStack() as stack:
        path = stack.enter_context(predictions_of(run, home))
        if path is None:
            raise NotComparable(f"run {run.run_id[:8]} left no {PREDICTIONS}: what it has learned from is not known")
        return replace(read_scored(path, fold), ancestry=ancestry_of(run, home))


def _of_the_tested(rows: int, of: int) -> str:
    return f"the {rows:,} test rows" if rows == of else f"{rows:,} of the {of:,} test rows, which none was trained on,"


def _notes(runs: list[RecordedRun], pairs: Pairs) -> tuple[str, ...]:
    unknown = () if pairs.learned_known else ("what one of the two was trained on is not known",)
    return (*unknown, *unknown_ancestors(runs, pairs.ancestry))
