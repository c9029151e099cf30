"""How classifiers are compared and promoted: by which of the same texts each labels rightly."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from components.core.errors import NotComparable
from components.data.split.folding import fold
from components.evaluation.labelled import Predictions
from components.evaluation.metrics import LABELS, METRICS
from components.evaluation.paired.comparison import Paired, compare_predictions
from components.evaluation.paired.matching import PREFIX, Pairs, Scored, pair, read_scored
from components.evaluation.paired.non_inferiority import accuracy_difference
from components.evaluation.paired.p_values import shown
from components.tracking.reading import PREDICTIONS, RecordedRun, Registered
from pipelines.compared import Tested, decided, of_every_kind
from pipelines.kind import Candidate, Kind, Measured, Runs, Sides, ancestry_of, common_rows, load_version
from pipelines.kinds.classification import DECIDES


class Classification:
    """The kind of runs that train a classifier."""

    key = "test"
    metrics = LABELS
    decides = DECIDES
    selects: str | None = "validation/accuracy"
    margin = 0.01
    needs: tuple[str, ...] = (PREDICTIONS,)
    reads: tuple[str, ...] = ()
    group = "label"

    def texts(self, paths: Mapping[str, Path]) -> pd.DataFrame:
        """Return the test texts with their labels, and what a run predicts."""
        table = pd.read_parquet(paths[PREDICTIONS], filters=[("split", "==", "test")]).reset_index(drop=True)
        chances = table[[name for name in table if str(name).startswith(PREFIX)]]
        said = [str(name).removeprefix(PREFIX) for name in chances.idxmax(axis=1)]
        columns = {"text": table["text"], "expected": table["label"], "said": said, "group": table["label"]}
        return pd.DataFrame(columns).astype(object)

    def read(self, run: RecordedRun, paths: Mapping[str, Path], home: Path) -> Scored:
        """Return the predictions of a run."""
        return replace(read_scored(paths[PREDICTIONS], fold), ancestry=ancestry_of(run, home))

    def pair(self, runs: Runs, rows: tuple[Scored, Scored]) -> Pairs[Predictions]:  # noqa: ARG002 - other kinds ask it
        """Return what two classifiers predicted for the same texts."""
        return pair(*rows)

    def compare(self, runs: Runs, pairs: Pairs[Predictions], primary: str) -> Paired:
        """Compare two classifiers; their labels are steps of a scale if both runs say so."""
        ordered = all("test/mean_absolute_error" in run.metrics for run in runs)
        return compare_predictions(pairs.first, pairs.second, ordered, primary=primary)

    def shown(self, pairs: Pairs[Predictions], paired: Paired) -> Tested:
        """Return what `--json` prints under `test`."""
        return Tested(
            **of_every_kind(pairs, paired),
            training_data_known=all(pairs.learned_known),
            only_first_right=paired.only_first,
            only_second_right=paired.only_second,
            p_value=paired.p_value,
            smallest_difference=paired.smallest_difference,
        )

    def sentence(self, pairs: Pairs[Predictions], paired: Paired, names: tuple[str, str]) -> str:
        """Say who is better in the metric that decides, and in which others by more than chance."""
        deciding, title = paired.deciding, METRICS[paired.primary].title
        if deciding is None:
            outcome = f"{METRICS[paired.primary].title_with_unit} is not defined for both"
        elif deciding.name == "accuracy":
            evidence = f", McNemar p {shown(deciding.p_value)}"
            outcome = decided(deciding, names, "is right significantly more often", "{} and {} right", ".1%", evidence)
        else:
            better, evidence = f"is significantly better in {title}", f", bootstrap p {shown(deciding.p_value)}"
            outcome = decided(deciding, names, better, f"{{}} and {{}} {title}", ".4f", evidence)
        parts = [f"On {common_rows(pairs)} {outcome}"]
        for side, name in zip(("first", "second"), names, strict=True):  # corrected for how many metrics they are
            others = (each.name for each in paired.metrics if each.better == side and each.name != paired.primary)
            if titles := ", ".join(METRICS[other].title for other in others):
                parts.append(f"{name} is better in {titles}")
        return "; ".join(parts) + "."

    def caveats(self, runs: Runs, pairs: Pairs[Predictions]) -> tuple[str, ...]:  # noqa: ARG002
        """Return nothing: what can be said stands in the counts."""
        return ()

    def sides(self, pairs: Pairs[Predictions]) -> Sides:
        """Return which rows the second is right on, beside the first."""
        return Sides(pairs.second.correct, pairs.first.correct)

    def baseline(self, candidate: Candidate[Scored]) -> tuple[Sides, str]:
        """Return a candidate beside the most frequent label of its test rows."""
        predictions = candidate.rows.predictions.take(candidate.counted)
        majority = np.bincount(predictions.truth).argmax()
        return Sides(predictions.correct, predictions.truth == majority), "the majority class"

    def best_baseline(self, candidate: Candidate[Scored]) -> tuple[Sides, str]:
        """Return a candidate beside the baseline that is right most often on the validation split."""
        from components.evaluation.baselines import LEARNED, TITLES

        path = candidate.paths[PREDICTIONS]
        if not (there := [name for name in LEARNED if name in pq.read_schema(path).names]):
            raise NotComparable("the run has left no predictions of a baseline")
        rows = pd.read_parquet(path, columns=["split", "label", *there])
        right = rows[there].eq(rows["label"], axis=0).groupby(rows["split"]).mean()
        best = str(right.loc["validation" if "validation" in right.index else "test"].idxmax())
        tested = rows[rows["split"] == "test"][candidate.counted]
        correct = candidate.rows.predictions.take(candidate.counted).correct
        return Sides(correct, (tested[best] == tested["label"]).to_numpy()), TITLES[best]

    def run_anew(self, champion: Registered, name: str, candidate: Candidate[Scored], home: Path) -> Sides:
        """Let a champion predict a candidate's test rows."""
        from components.models.saved.classifier import LoadedClassifier

        labels = candidate.rows.labels
        model = load_version(champion, home)
        if not isinstance(model, LoadedClassifier) or set(model.card.labels) != set(labels):
            others = ", ".join(getattr(model.card, "labels", ["none"]))
            raise NotComparable(f"{name} tells other labels apart: {others}")
        rows = pd.read_parquet(candidate.paths[PREDICTIONS], columns=["split", "text"])
        texts = rows.loc[rows["split"] == "test", "text"][candidate.counted]
        probabilities = model.predict(texts.tolist())[[f"p_{label}" for label in labels]].to_numpy(np.float64)
        predictions = candidate.rows.predictions.take(candidate.counted)
        return Sides(predictions.correct, Predictions(predictions.truth, probabilities).correct)

    def measure(self, sides: Sides, where: str, notes: list[str]) -> Measured:
        """Return the difference of the shares of right ones."""
        return Measured(accuracy_difference(sides.candidate, sides.reference), where, notes=tuple(notes))


KIND: Kind[Scored, Pairs[Predictions]] = Classification()
