"""The flow `promotion`: `gradus promote` and `gradus rollback` as a deployment, one at a time across all machines.

MLflow cannot set an alias on a condition, and a lock on a file holds for one machine. The deployment's concurrency
limit of 1 (`deploy/prefect.yaml`) holds for all that go through Prefect.
"""

from typing import Any

from prefect import State, flow

from components.core.errors import PromotionRefused
from components.core.home import home
from components.core.steps import run_logger
from components.tasks.shared import show_table
from pipelines.deployed import in_one_line
from pipelines.prefect_runs import PROMOTION, record_process
from pipelines.promoting.promote import PromotionResult, promote
from pipelines.promoting.rollback import RollbackResult, rollback

Done = PromotionResult | RollbackResult


@flow(name=PROMOTION, flow_run_name="{model}", persist_result=False, on_running=[record_process])
def promotion(
    model: str,
    back: bool = False,
    reason: str | None = None,
    force: bool = False,
    margin: float | None = None,
    rules: str | None = None,
    model_name: str | None = None,
) -> Done | State[Any]:
    """Promote a model, or put the champion before back.

    Args:
        model: a run or a model, as for `gradus promote`; with `back` the name of a registered model.
        back: roll back instead.
        reason: why.
        force: promote whatever the rules say; needs a reason.
        margin: how much worse than a champion it may be.
        rules: the absolute path of a file of rules on the worker's machine.
        model_name: the registered model, where the run's has versions of several.

    Returns:
        What was done; or, where it was refused or failed, a failed state that says why in one line. Called from
        Python, the reason is raised.

    Raises:
        GradusError: as `promote` and `rollback` do.
    """

    def work() -> Done:
        if back:
            return rollback(model, home(), reason=reason)
        try:
            done = promote(model, home(), model_name, force, reason, margin, rules)
        except PromotionRefused as error:
            if error.result:
                _show(error.result)
            raise
        _show(done)
        return done

    done = in_one_line(work)
    if not isinstance(done, State):
        for line in (done.sentence, *done.warnings):
            run_logger().info(line)
    return done


def _show(result: PromotionResult) -> None:
    """Put what the rules said on the flow run's page."""
    rows = [each.model_dump(mode="json") for each in result.rules]
    show_table(key="promotion-rules", table=rows, description=result.sentence)
