"""What a comparison of runs finds out: what `gradus compare` shows, and what `--json` prints."""

from typing import Any

from pydantic import BaseModel, Field

from components.evaluation.paired.comparison import MetricPair, Paired, Side
from components.evaluation.paired.groups import GroupDifference
from components.evaluation.paired.matching import Pairs
from components.evaluation.ratings import PeopleAgreement


def decided(pair: MetricPair, names: tuple[str, str], better: str, both: str, form: str, evidence: str) -> str:
    """Say who is better in a metric, if it is more than chance.

    Args:
        pair: the metric of both.
        names: what to call the two.
        better: what the better one does, as in `is right more often`.
        both: how both values are named where neither is better, as in `{} and {} right`.
        form: how a value is written.
        evidence: what follows the values.
    """
    first, second = format(pair.first, form), format(pair.second, form)
    if pair.better is None:
        alike = f"there is no significant difference between {names[0]} and {names[1]}"
        return f"{alike} ({both.format(first, second)}{evidence})"
    ranked = [(names[0], first), (names[1], second)]
    (winner, more), (loser, less) = ranked if pair.better == "first" else reversed(ranked)
    return f"{winner} {better} than {loser} ({more} against {less}{evidence})"


class RunSide(BaseModel):
    """One of the two runs."""

    address: str
    run_id: str
    name: str
    status: str
    cached_from: str | None
    metrics: dict[str, float]
    """The figures of its own test set, as they were recorded."""


class Compared(BaseModel):
    """What a comparison on common test rows came to, whatever the kind."""

    rows: int
    test_rows: tuple[int, int]
    same_test_set: bool
    left_out: int = 0
    """Common rows that were left out, as one of the two, or a model that it continues, was trained on them."""
    left_out_for_ancestors: int = 0
    """Those of them that only a model before one of the two was trained on."""
    primary: str
    """The metric that decides."""
    better: Side | None
    """Who is significantly better in it."""
    figures: list[MetricPair]

    def counts(self) -> list[str]:
        """Say on which rows the comparison stands, in lines."""
        lines = []
        if not self.same_test_set:
            first, second = self.test_rows
            both = self.rows + self.left_out
            lines.append(f"The test sets differ: of {first:,} and {second:,} rows {both:,} are in both.")
        if self.left_out:
            before = self.left_out_for_ancestors
            of_them = f", {before:,} of them in that of a model that one of the two continues" if before else ""
            lines.append(
                f"Left out: {self.left_out:,} rows that stand in the training data of one of the two{of_them}."
            )
        return lines


def of_every_kind(pairs: Pairs[Any], paired: Paired) -> dict[str, Any]:
    """Return the fields of `Compared`."""
    return {
        "rows": paired.rows,
        "test_rows": (len(pairs.runs[0]), len(pairs.runs[1])),
        "same_test_set": pairs.same_test_set,
        "left_out": pairs.left_out,
        "left_out_for_ancestors": pairs.by_ancestors,
        "primary": paired.primary,
        "better": paired.better,
        "figures": paired.metrics,
    }


class Tested(Compared):
    """What a comparison of classifiers on common test rows came to."""

    training_data_known: bool
    only_first_right: int
    only_second_right: int
    p_value: float
    """McNemar's."""
    smallest_difference: float

    def counts(self) -> list[str]:
        """Say on which rows the comparison stands, and what it could have shown."""
        lines = super().counts()
        if not self.training_data_known:
            lines.append("What one of the two was trained on is not known: some of these rows may be among it.")
        return [
            *lines,
            f"Right alone: the first on {self.only_first_right:,} rows, the second on {self.only_second_right:,}. "
            f"The smallest significant difference here: {100 * self.smallest_difference:.1f} points of accuracy.",
        ]


class Answered(Compared):
    """What a comparison of responses to common test rows came to."""

    judge: str
    """Whose scores are compared: one judge's, of both."""
    unscored: tuple[int, int]
    """Rows of each without a score: their verdicts could not be read. Scores are compared on the others."""
    learned: tuple[int | None, int | None]
    """How many of its own test rows each was trained on as well, but for case, digits or blanks; None: not known."""
    p_value: float | None
    """Permutation test on the scores; None if no row has a score of both."""
    only_first_exact: int
    only_second_exact: int
    exact_p_value: float

    def counts(self) -> list[str]:
        """Say on which rows the comparison stands, and by whose scores."""
        return [
            f"Scores are by {self.judge}.",
            *super().counts(),
            "The reference word for word from one of the two only: from the first on "
            f"{self.only_first_exact:,} rows, from the second on {self.only_second_exact:,}.",
        ]


class Example(BaseModel):
    """A row on which two models differ."""

    text: str
    """What both were given."""
    expected: str
    """The label or the reference."""
    first: str
    """What the first answered."""
    second: str
    first_value: float | None
    """Whether the first is right (1 or 0), or its score."""
    second_value: float | None


class Details(BaseModel):
    """Where two models differ; its figures are of the metric that the kind of runs goes by, whatever else decides."""

    metric: str
    """What the figures are: as `figures` names it."""
    group: str
    """What `by_group` goes by: labels, tasks, ..."""
    by_group: list[GroupDifference]
    by_length: list[GroupDifference]
    """By the number of characters that both were given."""
    disagreements: int
    """Rows on which the two answered differently."""
    examples: list[Example]
    """Some of those rows: those where each of the two is ahead of the other the most, then others."""
    rows: Any = Field(default=None, exclude=True)
    """All of them, as a table."""


class RunComparison(BaseModel):
    """What `gradus compare` finds out of two runs."""

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
    adjusted_p_value: float | None = None
    """p value of the metric that decides, where it is one of several comparisons: after Holm's correction over them."""
    details: Details | None = None
    people: PeopleAgreement | None = None
    """How far the judge's scores and people's ratings prefer the same responses, if people have rated both runs'."""
    sentence: str = ""
    warnings: list[str] = []
    refused: str | None = None
    """Why the two cannot be compared, in one line."""

    @property
    def compared(self) -> Compared | None:
        """What was compared, whatever the kind; None if nothing was."""
        return self.test or self.responses


class Comparisons(BaseModel):
    """What `gradus compare` finds out of several runs: each of the others beside the first, which is the baseline."""

    runs: list[RunSide]
    """The baseline first."""
    parameters: dict[str, list[str | None]]
    """Keys whose values are not the same in all runs, with the value of each; None where a run does not have one."""
    data: dict[str, list[str | None]]
    """SHA-256 of the splits that are not the same."""
    comparisons: list[RunComparison]
    """Of the baseline with each of the others. All tests of the metric that decides are corrected together (Holm)."""

    @property
    def names(self) -> list[str]:
        """The first characters of each run's id."""
        return [side.run_id[:8] for side in self.runs]

    @property
    def warnings(self) -> list[str]:
        """What speaks against the comparisons, each said once."""
        return list(dict.fromkeys(line for each in self.comparisons for line in each.warnings))

    @property
    def refused(self) -> list[str]:
        """Why some of the runs cannot be compared, a line each."""
        return list(dict.fromkeys(each.refused for each in self.comparisons if each.refused))
