"""The flow `judging`: `gradus judge` as a deployment."""

from typing import Any

from prefect import State, flow

from components.core.home import home
from components.core.steps import run_logger
from pipelines.comparing.pairwise import PairwiseResult, judge_against
from pipelines.deployed import in_one_line
from pipelines.judging import JudgementResult, judge_run
from pipelines.prefect_runs import JUDGING, record_process

Judged = JudgementResult | PairwiseResult


@flow(name=JUDGING, flow_run_name="{run}", persist_result=False, on_running=[record_process])
def judging(
    run: str,
    against: str | None = None,
    overrides: list[str] = [],  # noqa: B006 - Prefect shows it
) -> Judged | State[Any]:
    """Judge a finished instruction run's responses with another judge, or beside another run's.

    Args:
        run: a run id, or its beginning, or a models:/ address.
        against: a run whose responses to the same instructions the judge sees as well, in both orders.
        overrides: what the judge has other than in the run, such as `judge.model=phi3`.

    Returns:
        What was found, which is logged to the MLflow run; or, where it failed, a failed state that says why.

    Raises:
        GradusError: from Python, as `gradus judge` does.
    """

    def work() -> Judged:
        return judge_against(run, against, overrides, home()) if against else judge_run(run, overrides, home())

    found = in_one_line(work)
    if not isinstance(found, State):
        for line in (found.sentence, *found.warnings):
            run_logger().info(line)
    return found
