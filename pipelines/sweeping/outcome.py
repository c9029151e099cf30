"""What came of a sweep: a row a variation, ranked by validation, and which differences are more than noise."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from statistics import mean
from typing import Any

from pydantic import BaseModel

from components.evaluation.seeds import Contrast, contrasts
from components.tracking.reading import RecordedRun
from pipelines.sweeping.figures import Figure, more_is_better, shown_figure, title_of, writer
from pipelines.sweeping.rows import Row


class Difference(BaseModel):
    """How the validation figure of a row differs from that of the first one that has any."""

    difference: float
    p_value: float
    """Of Welch's test, adjusted for all rows that were compared with that one."""
    significant: bool


class RowResult(BaseModel):
    """What came of a row."""

    name: str
    preset: str
    values: dict[str, Any]
    """What it has for each key that is varied."""
    rank: int | None = None
    """By the mean of validation; 1 is the best."""
    validation: Figure | None = None
    test: Figure | None = None
    """Shown, and never chosen by."""
    published: float | None = None
    against_first: Difference | None = None
    like_best: bool | None = None
    """Whether it cannot be told from the best one; None if it has less than two seeds."""
    trained_parameters: int | None = None
    minutes: float | None = None
    """Of training, the mean over seeds."""
    peak_memory_gb: float | None = None
    """Most that a run's process held; None if its training was taken from the store."""
    runs: list[str] = []
    """The MLflow runs that have finished."""
    skipped: str = ""
    failed: list[str] = []
    """Runs that failed, each with the reason."""
    pruned: bool = False


class Answer(BaseModel):
    """What the rows say to a question."""

    question: str
    answer: str
    rows: list[str]


class SweepResult(BaseModel):
    """What came of a sweep."""

    name: str
    preset: str
    run_id: str
    """The parent run in MLflow."""
    metric: str
    """What rows are ranked by."""
    test_metric: str
    seeds: int
    rows: list[RowResult]
    verdict: str = ""
    """Which row is the best, and which are not told from it."""
    answers: list[Answer] = []
    failed: list[str] = []
    """Runs that failed, each with its row, its seed and the reason."""

    def sentences(self) -> list[str]:
        """Return what the figures say: the verdict, and the answer to each question; and what was not run."""
        return [self.verdict, *(f"{each.question} {each.answer}" for each in self.answers), *self.not_run()]

    def not_run(self) -> list[str]:
        """Say which rows were skipped or failed, each with the reason."""
        skipped = [f"Skipped: {row.name}: {row.skipped}" for row in self.rows if row.skipped]
        return [*skipped, *(f"Failed: {each}" for each in self.failed)]

    def notes(self) -> list[str]:
        """Return how the figures are to be read."""
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        return [
            f"Rows are ranked by {title_of(self.metric)} on validation, the mean over {seeds}, in brackets its 95 % "
            "interval (Student's t). Test figures are shown, and nothing was chosen by them.",
            "Against the first: the difference of the validation figures from those of the first row that has any, and "
            "Welch's p, adjusted by Holm for all rows; * is more than seeds scatter (5 %).",
            "Trained are parameters. Minutes are those of training; what frozen blocks make of the texts is computed "
            "before, once for all seeds, and not among them. GB are the most that the process of a run held. – stands "
            "where a figure is not known.",
            *self.not_run(),
        ]

    def ranked(self) -> list[RowResult]:
        """Return the rows that have a figure, the best by validation first."""
        return sorted((row for row in self.rows if row.rank), key=lambda row: row.rank or 0)


def row_result(row: Row, runs: Sequence[RecordedRun], metric: str, test_metric: str) -> RowResult:
    """Return what came of a row, from its finished runs, one a seed."""

    def over(name: str, sum_up: Callable[[Sequence[float]], float]) -> float | None:
        values = [run.metrics[name] for run in runs if name in run.metrics]
        return sum_up(values) if values else None

    trained = over("model/trained_parameters", max)
    return RowResult(
        name=row.name,
        preset=row.preset,
        values=row.values,
        validation=Figure.of([run.metrics[metric] for run in runs if metric in run.metrics], metric),
        test=Figure.of([run.metrics[test_metric] for run in runs if test_metric in run.metrics], test_metric),
        published=row.published,
        trained_parameters=None if trained is None else int(trained),
        minutes=over("cost/training_minutes", mean),
        peak_memory_gb=over("cost/peak_memory_gb", max),
        runs=[run.run_id for run in runs],
        skipped=row.skipped,
    )


def rank(rows: Sequence[RowResult], metric: str) -> None:
    """Give rows their ranks by the mean of validation, and say which differ by more than seeds do.

    All are compared with the first row that has figures, which was not picked for them; and the best with all others,
    adjusted for all pairs that there are, since it was.
    """
    with_figures = [row for row in rows if row.validation]
    order = in_order(with_figures, metric)
    for place, row in enumerate(order, start=1):
        row.rank = place
    groups = [row.validation.values if row.validation else [] for row in order]
    if not order:
        return
    first = order.index(with_figures[0])
    for each in contrasts(groups, [(first, other) for other in range(len(order)) if other != first]):
        order[each.second].against_first = Difference(
            difference=each.difference, p_value=each.p_value, significant=each.significant
        )
    with_best = {each.second: each for each in best_contrasts(groups)}
    for place, row in enumerate(order):
        if len(groups[place]) > 1 and len(groups[0]) > 1:
            row.like_best = place == 0 or not with_best[place].significant


def in_order(rows: Sequence[RowResult], metric: str) -> list[RowResult]:
    """Return rows, which all have a figure of validation, the best first."""
    sign = -1 if more_is_better(metric) else 1
    return sorted(rows, key=lambda row: sign * row.validation.mean if row.validation else 0.0)


def best_contrasts(groups: Sequence[Sequence[float]]) -> list[Contrast]:
    """Compare the first of some groups, the best of them, with each other one, adjusted for all pairs of them."""
    return [each for each in contrasts(groups, combinations(range(len(groups)), 2)) if each.first == 0]


def verdict_of(rows: Sequence[RowResult], metric: str) -> str:
    """Say which row is the best by validation, and which are not told from it."""
    order = sorted((row for row in rows if row.rank), key=lambda row: row.rank or 0)
    if not order:
        return "No run has finished."
    best = order[0]
    said = f"The best {title_of(metric)} on validation has {best.name}: {shown_figure(best.validation, writer(metric))}"
    if best.like_best is None:
        return f"{said}. One seed does not tell how far another would have come; --seeds 3 does."
    alike = [row.name for row in order[1:] if row.like_best]
    if len(order) == 1:
        return f"{said}."
    if not alike:
        return f"{said}; every other row is behind by more than seeds scatter."
    return f"{said}; not told from it by these seeds: {'; '.join(alike)}."


def by_identity(runs: Sequence[RecordedRun], identity: Callable[[Mapping[str, str]], str]) -> dict[str, RecordedRun]:
    """Return the newest run of each identity: one that has finished, if there is any."""
    found: dict[str, RecordedRun] = {}
    for run in runs:  # the newest first
        key = identity(run.params)
        if key not in found or (run.finished and not found[key].finished):
            found[key] = run
    return found
