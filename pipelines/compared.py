"""What a comparison of two runs finds out: what `gradus compare` shows, and what `--json` prints."""

from collections.abc import Iterable

from pydantic import BaseModel

from components.core.errors import ConfigError
from components.evaluation.comparison import Side

Ends = tuple[float, float]


def known_metric(name: str, known: Iterable[str]) -> str:
    """Return the name of a metric that may decide.

    Raises:
        ConfigError: if there is no such metric.
    """
    if name not in (names := list(known)):
        raise ConfigError(f"--primary {name}: there is no such metric; it is one of {', '.join(names)}")
    return name


class RunSide(BaseModel):
    """One of the two runs."""

    address: str
    run_id: str
    name: str
    status: str
    cached_from: str | None
    metrics: dict[str, float]
    """The figures of its own test set, as they were recorded."""


class Figure(BaseModel):
    """A metric of both on the rows compared; the difference is second minus first, intervals are 95 %."""

    name: str
    title: str
    first: float
    second: float
    difference: float
    first_interval: Ends
    second_interval: Ends
    difference_interval: Ends
    p_value: float
    """Two-sided, of this metric by itself."""
    better: Side | None
    """Whose is better, where the difference is more than chance, all metrics taken together."""


class Tested(BaseModel):
    """What a comparison of classifiers on common test rows came to."""

    rows: int
    test_rows: tuple[int, int]
    same_test_set: bool
    left_out: int
    """Common rows that were left out, as one of the two, or a model that it continues, was trained on them."""
    left_out_for_ancestors: int = 0
    """Those of them that only a model before one of the two was trained on."""
    training_data_known: bool
    only_first_right: int
    only_second_right: int
    p_value: float
    """McNemar's."""
    primary: str
    """The metric that decides."""
    better: Side | None
    """Who is significantly better in it."""
    smallest_difference: float
    figures: list[Figure]


class Answered(BaseModel):
    """What a comparison of responses to common test rows came to."""

    judge: str
    """Whose scores are compared: one judge's, of both."""
    rows: int
    test_rows: tuple[int, int]
    same_test_set: bool
    left_out: int = 0
    """Common rows that were left out, as one of the two, or a model that it continues, was trained on them."""
    left_out_for_ancestors: int = 0
    """Those of them that only a model before one of the two was trained on."""
    unscored: tuple[int, int]
    """Rows of each without a score: their verdicts could not be read. Scores are compared on the others."""
    learned: tuple[int | None, int | None]
    """How many of its own test rows each was trained on as well, but for case, digits or blanks; None: not known."""
    p_value: float | None
    """Permutation test on the scores; None if no row has a score of both."""
    primary: str
    """The measure that decides."""
    better: Side | None
    """Who is significantly better in it."""
    only_first_exact: int
    only_second_exact: int
    exact_p_value: float
    figures: list[Figure]


class RunComparison(BaseModel):
    """What `gradus compare` finds out."""

    first: RunSide
    second: RunSide
    parameters: dict[str, tuple[str | None, str | None]]
    """Keys whose values differ; None where a run does not have one."""
    data: dict[str, tuple[str | None, str | None]]
    """SHA-256 of the splits that differ."""
    test: Tested | None = None
    """Of two classifiers."""
    responses: Answered | None = None
    """Of two instruction runs."""
    sentence: str = ""
    warnings: list[str] = []
    refused: str | None = None
    """Why the two cannot be compared, in one line."""
