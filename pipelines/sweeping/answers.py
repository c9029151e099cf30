"""Questions that rows of a sweep answer: in words, from their figures and nothing else."""

from collections.abc import Iterable, Mapping, Sequence

from components.evaluation.seeds import Contrast
from pipelines.sweeping.config import QuestionConfig
from pipelines.sweeping.figures import difference_text, minutes_text, shown_figure, title_of, writer
from pipelines.sweeping.outcome import Answer, RowResult, best_contrasts, in_order


def answers(questions: Sequence[QuestionConfig], rows: Sequence[RowResult], metric: str, test: str) -> list[Answer]:
    """Return what the rows say to each question, by the figures `metric` of validation and `test`."""
    by_name = {row.name: row for row in rows}
    return [_Answering(question, by_name, metric, test).answer() for question in questions]


class _Answering:
    """A question, and the rows that answer it, the best by validation first."""

    def __init__(self, question: QuestionConfig, by_name: Mapping[str, RowResult], metric: str, test: str) -> None:
        self.question, self.metric, self.test = question, metric, test
        asked = [by_name[name] for name in question.rows]
        self.order = in_order([row for row in asked if row.validation], metric)
        self.missing = [row.name for row in asked if not row.validation]

    def answer(self) -> Answer:
        """Say who is best, who is behind by more than noise, and which of those that are not is the cheapest."""
        said = self._compared() if len(self.order) > 1 else ["There are figures of less than two of its rows."]
        if self.missing:
            said.append(f"No figures of: {'; '.join(self.missing)}.")
        said.append(self.question.remark)
        return Answer(question=self.question.ask, answer=" ".join(filter(None, said)), rows=self.question.rows)

    def _compared(self) -> list[str]:
        best, others = self.order[0], self.order[1:]
        groups = [row.validation.values for row in self.order if row.validation]
        gaps = {each.second: each for each in best_contrasts(groups) if each.significant}
        behind = [self._gap(row, gaps[place]) for place, row in enumerate(others, 1) if place in gaps]
        alike = [row for place, row in enumerate(others, 1) if place not in gaps]
        said = [f"The best {title_of(self.metric)} on validation has {best.name}: {self._figures(best)}."]
        if behind:
            said.append(f"By more than seeds scatter it is better than {'; '.join(behind)}.")
        if alike:
            said.append(f"Not told from it: {'; '.join(f'{row.name}, {self._figures(row)}' for row in alike)}.")
        return [*said, _cheapest([best, *alike])]

    def _gap(self, row: RowResult, gap: Contrast) -> str:
        by = difference_text(abs(gap.difference), self.metric).lstrip("+")
        return f"{row.name}, {self._figures(row)}: by {by} (p {gap.p_value:.2g})"

    def _figures(self, row: RowResult) -> str:
        """Return a row's figures: of validation, and in brackets that of test."""
        test = f"test {writer(self.test)(row.test.mean)}" if row.test else ""
        return shown_figure(row.validation, writer(self.metric), test)


def _cheapest(rows: Iterable[RowResult]) -> str:
    """Say which of rows that are equally good trains the soonest."""
    timed = [row for row in rows if row.minutes is not None]
    if len(timed) < 2:
        return ""
    least = min(timed, key=lambda row: row.minutes or 0.0)
    parameters = f" and {least.trained_parameters:,} parameters" if least.trained_parameters is not None else ""
    return f"Of these {least.name} trains the soonest: {minutes_text(least.minutes or 0.0)} minutes a run{parameters}."
