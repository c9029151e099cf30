"""Figures by kind of task, and the baseline that knows no more than what each task's answers mostly are."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.evaluation.verdicts import Verdicts

NO_TASK = "no task"
"""What the rows are called that have no task where others have one."""
LONGEST = 200
"""Characters of a task that are part of a metric's name."""
NOT_IN_A_NAME = re.compile(r"[^\w \-]")
"""What a metric's name may not hold, or means something else in one: MLflow draws a folder for every slash."""

FIGURES = {
    "exact_match_before": "start/test/exact_match",
    "exact_match": "test/exact_match",
    "score_before": "start/test/score",
    "score": "test/score",
    "baseline_exact_match": "baseline/test/exact_match",
}
"""Figures of a task, and the metric whose name, with the task's after it, each is logged under."""


@dataclass(frozen=True)
class MostCommon:
    """The most common response of the training split, by task and overall."""

    overall: str | None
    by_task: Mapping[str | None, str]

    def matches(self, tasks: "pd.Series[str]", references: "pd.Series[str]") -> NDArray[np.bool_]:
        """Return for which of N rows it is the reference, blanks around it aside, as in `exact_match`."""
        responses = [self.by_task.get(task, self.overall) for task in tasks]
        pairs = zip(responses, references, strict=True)
        return np.array([response == reference.strip() for response, reference in pairs], dtype=np.bool_)


def most_common_responses(train: Path) -> MostCommon:
    """Return the most common responses of a training split; of those that are equally common the first in the file."""
    columns = [name for name in ("task", "output") if name in pq.read_schema(train).names]
    frame = pd.read_parquet(train, columns=columns).reindex(columns=["task", "output"])
    responses = frame["output"].map(str.strip)
    # `most_common(1)` takes the first of equals, and a Counter keeps the order in which it met them.
    by_task = {
        None if pd.isna(task) else str(task): Counter(of_task).most_common(1)[0][0]
        for task, of_task in responses.groupby(frame["task"], dropna=False)
    }
    return MostCommon(Counter(responses).most_common(1)[0][0] if len(responses) else None, by_task)


def tasks_table(tasks: "pd.Series[str]", verdicts: Mapping[str, Verdicts], baseline: NDArray[np.bool_]) -> pd.DataFrame:
    """Return a line a task, the largest first: its rows, and figures before and after training.

    Columns: `task`, `rows`, `exact_match_before`, `exact_match`, `score_before`, `score`, `baseline_exact_match`; nan
    where there is nothing to compute one from: no starting model, or no verdict of the task that could be read. A
    score is the mean of the rows that have one. Without any task there is no line.
    """
    frame = pd.DataFrame({"task": tasks, "baseline_exact_match": baseline.astype(np.float64)})
    for of, suffix in (("start", "_before"), ("model", "")):
        frame[f"exact_match{suffix}"] = verdicts[of].exact.astype(np.float64) if of in verdicts else np.nan
        frame[f"score{suffix}"] = verdicts[of].scores if of in verdicts else np.nan
    if frame["task"].isna().all():
        frame = frame.iloc[:0]
    grouped = frame.assign(task=frame["task"].fillna(NO_TASK).astype("str")).groupby("task")
    table = grouped[list(FIGURES)].mean()
    table.insert(0, "rows", grouped.size().astype(np.int64))
    return table.sort_values("rows", ascending=False, kind="stable").reset_index()


def task_metrics(tasks: pd.DataFrame) -> dict[str, float]:
    """Return the figures of tasks (`tasks_table`) by flat names: `test/exact_match/TASK`, ..."""
    return {
        f"{metric}/{name}": float(value)
        for figure, metric in FIGURES.items()
        for name, value in zip(metric_names(tasks["task"].tolist()), tasks[figure], strict=True)
        if pd.notna(value)
    }


def metric_names(tasks: Sequence[str]) -> list[str]:
    """Return names for tasks that metrics can bear, all different: `yes/no (short)` becomes `yes_no _short`.

    MLflow takes no more than 250 characters, with what stands before the name.
    """
    names: list[str] = []
    for task in tasks:
        plain = NOT_IN_A_NAME.sub("_", task[:LONGEST]).strip(" _") or "_"
        name, number = plain, 2
        while name in names:
            name, number = f"{plain} {number}", number + 1
        names.append(name)
    return names
