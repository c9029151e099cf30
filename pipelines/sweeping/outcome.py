"""What came of a sweep: a row a variation, ranked by validation, and which differences are more than noise."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from statistics import mean
from typing import Any, Self

from pydantic import BaseModel

from components.evaluation.metrics import METRICS
from components.evaluation.seeds import Contrast, contrasts, t_interval
from components.tracking.reading import RecordedRun
from pipelines.kinds import part_of
from pipelines.sweeping.rows import Row


class Figure(BaseModel):
    """A figure over seeds."""

    mean: float
    low: float | None = None
    """Where the 95 % interval of the mean begins (Student's t); None of one seed."""
    high: float | None = None
    values: list[float]
    """One a seed."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Self | None:
        """Return the figure; None if there are no values."""
        if not values:
            return None
        low, high = t_interval(values) if len(values) > 1 else (None, None)
        return cls(mean=mean(values), low=low, high=high, values=list(values))


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
    """Keys that it alone sets."""
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

    @property
    def more_is_better(self) -> bool:
        """Whether a higher validation figure is the better one."""
        return more_is_better(self.metric)

    def sentences(self) -> list[str]:
        """Return what the figures say: the verdict, and the answer to each question."""
        return [self.verdict, *(f"{each.question} {each.answer}" for each in self.answers)]

    def ranked(self) -> list[RowResult]:
        """Return the rows that have a figure, the best by validation first."""
        return sorted((row for row in self.rows if row.rank), key=lambda row: row.rank or 0)


def more_is_better(metric: str) -> bool:
    """Tell whether a higher figure is the better one."""
    found = METRICS.get(metric.rpartition("/")[2])
    return found is not None and found.better != "less"


def metric_of(kind: str) -> str | None:
    """Return the figure of the validation split that runs of a kind are chosen by; None if it names none."""
    return getattr(part_of(kind, "compare").KIND, "selects", None)


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
        validation=Figure.of([run.metrics[metric] for run in runs if metric in run.metrics]),
        test=Figure.of([run.metrics[test_metric] for run in runs if test_metric in run.metrics]),
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
    sign = -1 if more_is_better(metric) else 1
    order = sorted(with_figures, key=lambda row: sign * row.validation.mean if row.validation else 0.0)
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


def best_contrasts(groups: Sequence[Sequence[float]]) -> list[Contrast]:
    """Compare the first of some groups, the best of them, with each other one, adjusted for all pairs of them."""
    return [each for each in contrasts(groups, combinations(range(len(groups)), 2)) if each.first == 0]


def verdict_of(rows: Sequence[RowResult], metric: str, write: Callable[[float], str]) -> str:
    """Say which row is the best by validation, and which are not told from it."""
    order = sorted((row for row in rows if row.rank), key=lambda row: row.rank or 0)
    if not order:
        return "No run has finished."
    best, title = order[0], title_of(metric)
    assert best.validation
    said = f"The best {title} on validation has {best.name}: {write(best.validation.mean)}"
    if best.like_best is None:
        return f"{said}. One seed does not tell how far another would have come; --seeds 3 does."
    alike = [row.name for row in order[1:] if row.like_best]
    if len(order) == 1:
        return f"{said}."
    if not alike:
        return f"{said}; every other row is behind by more than seeds scatter."
    return f"{said}; not told from it by these seeds: {'; '.join(alike)}."


def title_of(metric: str) -> str:
    """Return what a metric is called."""
    name = metric.rpartition("/")[2]
    return METRICS[name].title if name in METRICS else name.replace("_", " ")


def writer(metric: str) -> Callable[[float], str]:
    """Return what writes values of a metric: shares in per cent."""
    found = METRICS.get(metric.rpartition("/")[2])
    if found and found.interval == "wilson":
        return lambda value: f"{100 * value:.1f} %"
    digits = found.digits if found else 4
    return lambda value: f"{value:.{digits}f}"


def shown_figure(figure: Figure | None, write: Callable[[float], str]) -> str:
    """Return a figure with its interval as text."""
    if figure is None:
        return "–"
    if figure.low is None or figure.high is None:
        return write(figure.mean)
    low, high = (write(end).removesuffix(" %") for end in (figure.low, figure.high))
    return f"{write(figure.mean)} ({low} to {high})"


def by_identity(runs: Sequence[RecordedRun], identity: Callable[[Mapping[str, str]], str]) -> dict[str, RecordedRun]:
    """Return the newest run of each identity: one that has finished, if there is any."""
    found: dict[str, RecordedRun] = {}
    for run in runs:  # the newest first
        key = identity(run.params)
        if key not in found or (run.finished and not found[key].finished):
            found[key] = run
    return found
