"""Whose turn it is: a run that Prefect's server has given to another machine, or whose slot it has given away.

A server that hears nothing of a run for a while has it begun again elsewhere. The process that had it may be alive, and
only have been cut off: it ends without a word then, as the flow run is not its own any more.
"""

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.exceptions import Abort

from components.core.errors import GradusError
from components.tasks.shared import ServerErrors
from pipelines.prefect_runs import answers, server_errors

LEASE = 300.0
"""Seconds for which Prefect's engine reserves a slot of a deployment that limits its runs, again and again."""


class SlotLost(GradusError):
    """The server has given away the slot of a run that is under way."""


def times_begun() -> int:
    """Return how often this flow run has been begun, as the server has it; 0 outside of one.

    Raises:
        GradusError: if the server does not answer.
    """
    if not (context := FlowRunContext.get()) or not context.flow_run:
        return 0
    with server_errors("cannot be used"), get_client(sync_client=True) as client:
        return client.read_flow_run(context.flow_run.id).run_count


def was_cancelled() -> bool:
    """Tell whether somebody has cancelled this flow run before it was begun again.

    Raises:
        GradusError: if the server does not answer.
    """
    if not (context := FlowRunContext.get()) or not context.flow_run:
        return False
    with server_errors("cannot be used"), get_client(sync_client=True) as client:
        return any(state.type == StateType.CANCELLING for state in client.read_flow_run_states(context.flow_run.id))


def leave_if_taken_over(turn: int) -> None:
    """Leave the flow without a word where another process has begun the run since its `turn`-th time.

    Raises:
        Abort: in that case.
    """
    if turn and answers() and times_begun() > turn:
        raise Abort("it was given to another process")


def leave_if_alone() -> None:
    """Leave the flow without a word where there is no server to hear one; that finds by itself that a run is silent.

    Raises:
        Abort: in that case.
    """
    if not answers():
        raise Abort("the server is lost")


def say_if_slot_was_lost(error: TimeoutError) -> None:
    """Tell a run that its server has stopped from one that has taken too long: Prefect raises the same for both.

    Raises:
        SlotLost: if its slot is gone, or the server that knows it.
    """
    context = FlowRunContext.get()
    state = context.flow_run.state if context and context.flow_run else None
    lease = state.state_details.deployment_concurrency_lease_id if state else None
    if lease is None:
        return
    try:
        with get_client(sync_client=True) as client:
            client.renew_concurrency_lease(lease, LEASE)
    except ServerErrors:
        raise SlotLost(
            "Prefect's server has heard nothing of this run for minutes, and has given its slot away; what was done is "
            "kept, and gone on with when the run is begun again"
        ) from error
