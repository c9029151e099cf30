"""The flow `monitoring`: whether a champion still does what it did, on data that have arrived since."""

from functools import partial
from pathlib import Path
from typing import Any

from prefect import State, flow

from components.core.errors import GradusError
from components.core.steps import run_logger
from components.tasks.shared import show_table
from pipelines.deployed import in_one_line
from pipelines.kinds import kind_named
from pipelines.prefect_runs import MONITORING, record_process
from pipelines.service.events import MODEL_DEGRADED, emit
from pipelines.service.retraining import config_of, first_run, from_file, retraining
from pipelines.service.watching import Champion, Watched, watch


@flow(name=MONITORING, flow_run_name="{model}", persist_result=False, on_running=[record_process])
def monitoring(
    model: str,
    data: str,
    labelled: bool = False,
    rows: int = 20_000,
    most_drift: float = 0.1,
    most_worse: float = 0.02,
    overrides: list[str] = [],  # noqa: B006 - Prefect shows it
) -> Watched | State[Any]:
    """Compare messages that have arrived, and what the champion says of them, with the test split of its run.

    Args:
        model: a registered model, whose champion is watched; or a models:/ address.
        data: the absolute path of a file like the one that it learnt from, on the worker's machine.
        labelled: whether it has labels, or responses; then errors are compared too, and a degraded classifier can be
            retrained on it.
        rows: how many rows are looked at, at most; of a language model, which has to answer them, no more than 200.
        most_drift: how far apart lengths, words, and labels and probabilities or the ends and lengths of responses may
            be, 0 to 1.
        most_worse: by how much the share of wrong labels may grow, or what responses lack of the references
            (1 - chrF, so that 0.02 is 2 points of it).
        overrides: what else is other than in the champion's preset, such as `source.format=jsonl`.

    Returns:
        What was seen, which is logged to MLflow; or, where it failed, a failed state that says why in one line.

    Raises:
        GradusError: from Python, if there is no champion, or the file cannot be read.
    """

    def work() -> Watched:
        champion, file = Champion.find(model), Path(data)
        how, first = champion.watched, first_run(champion)
        most = min(rows, how.most or rows)
        if labelled:
            arrived = how.labelled(config_of(first, [*from_file(file, most), *overrides]))
        else:
            arrived = how.unlabelled(config_of(first, overrides), file, most)
        retrain = partial(retraining, champion, arrived) if labelled and how.retrained else None
        found = watch(champion, arrived, data, most_drift, most_worse, retrain)
        if found.degraded:
            _tell(champion, found)
        return found

    found = in_one_line(work)
    if not isinstance(found, State):
        show_table(key="drift", table=[each.model_dump() for each in found.drifts], description=found.sentence)
        (run_logger().warning if found.degraded else run_logger().info)(found.sentence)
    return found


def _tell(champion: Champion, found: Watched) -> None:
    """Emit the event that starts a retraining, if there is something to learn from."""
    told = {"model": found.model, "run_id": found.run_id, "why": found.sentence, "preset": found.retraining}
    retrain = "true" if found.retraining else "false"
    labels = {"gradus.kind": kind_named(champion.run.pipeline), "gradus.retrain": retrain}
    try:
        emit(MODEL_DEGRADED, f"gradus.model.{champion.version.name}", labels, told)
    except GradusError as error:
        run_logger().warning(f"{found.model} is degraded, and nobody was told: {error}")
