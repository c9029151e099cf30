"""The figures of an instruction run."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from components.core.records import Manifest
from components.reporting import plots_instruction as plots
from components.reporting.instruction_evidence import score_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figures(manifests: Mapping[str, Manifest], run_name: str) -> "Iterator[tuple[str, Figure]]":
    """Yield the figures of a run with the names of their files, one at a time, so that one is in memory."""
    import pandas as pd

    trained, scored = manifests["fine_tune"], manifests["evaluate"]
    scores = scored.facts
    history = pd.read_parquet(trained.path("history.parquet"))
    if len(history):
        yield "curves", plots.loss_figure(history, trained.facts["kept_step"], run_name)
    judge = scores["judge"]
    histogram, name = pd.read_parquet(scored.path("figures/scores.parquet")), f"{score_title(judge)} (0 to 100)"
    title, may_lack = f"{run_name}: {judge['name']}", bool(judge["is_language_model"])
    yield "scores", plots.scores_figure(histogram, scores["metrics"], name, title, may_lack)
    if len(tasks := pd.read_parquet(scored.path("tasks.parquet"))):
        yield "tasks", plots.tasks_figure(tasks, score_title(judge), "test split, by task (test rows)")
    lengths = pd.read_parquet(scored.path("responses.parquet"), columns=["new_tokens", "stopped"])
    yield "lengths", plots.lengths_figure(lengths, "lengths of the responses to the test split, and why they end")
