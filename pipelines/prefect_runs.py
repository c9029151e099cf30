"""What Prefect's server hears of a run, and what becomes of a run without it.

Prefect's engine asks the server when a flow begins and when it ends; tasks tell it what they do in the background. So a
server that is not there at the start is an error; one that is lost later is not, as files, MLflow and the exit code do
not depend on it.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
from prefect import Flow, State
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import Abort
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Crashed, Pending

from components.core.errors import GradusError, causes
from components.tasks.shared import ServerErrors, lost_server
from components.tracking.names import ORPHANED
from components.tracking.provenance import PROCESS_TAG, is_orphan, process_tags
from components.tracking.stores import one_line, without_password
from pipelines.kinds import KINDS

if TYPE_CHECKING:
    from pipelines.run import RunSummary

Config = TypeVar("Config")

PROMOTION, SWEEP, JUDGING, MONITORING = OF_NO_KIND = ("promotion", "sweep", "judging", "monitoring")
"""The names of the flows that are of no kind."""
OPEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
"""States in which a process works on a run, or should."""
PAGE = 200
"""Runs that a server hands out at once."""
PATIENCE = 30.0
"""Seconds that a server may be away when a flow ends, such as for its own restart."""
POLL = 1.0
ANSWER = 10.0
"""Seconds that it may take to say that it is there."""
SENDING = 30.0
"""Seconds that a server gets to take the last logs and events."""
ADVICE = "check PREFECT_API_URL (it ends in /api) and PREFECT_API_AUTH_STRING, or unset them for a temporary server"
LOST = (
    "Prefect's server at %s was lost while this ran: what was done is kept and recorded without it; on its pages the "
    "run stands as it was until a later one closes it"
)

_left = False
"""Whether the server was lost for good."""

log = logging.getLogger(__name__)


def run_with_prefect(flow: "Flow[[Config], RunSummary]", config: Config, name: str) -> "RunSummary":
    """Run a flow as Prefect does, but for the server: once the flow has begun, the run does not need it.

    Returns:
        What the flow returns.

    Raises:
        GradusError: if the server cannot be used when the run begins.
        BaseException: what the flow raises, whether or not the server could be told.
    """
    with server_errors("cannot be used"), get_client(sync_client=True) as client:
        close_orphans(client)
        parameters = flow.serialize_parameters({"config": config})
        # Said when the run is created, so that there is no moment at which one cannot tell whose it is.
        whose = dict(process_tags())
        created = client.create_flow_run(flow, name=name, parameters=parameters, context=whose, state=Pending())
    begun = False
    summary: RunSummary | None = None
    failure: BaseException | None = None

    @wraps(flow.fn)  # it looks the same to Prefect, which reads its parameters
    def watched(config: Config) -> "RunSummary":
        """Run the flow's function, and note what came of it, whatever Prefect makes of that."""
        nonlocal begun, summary, failure
        begun = True
        try:
            summary = flow.fn(config)
        except BaseException as error:
            failure = error
            _leave_if_lost(PATIENCE if isinstance(error, Exception) else 0)
            raise
        _leave_if_lost(PATIENCE)
        return summary

    watching = flow.with_options()
    watching.fn = watched
    try:
        run_flow(watching, flow_run=created, parameters={"config": config})
    except BaseException as error:
        if not begun and isinstance(error, ServerErrors):
            raise _refused("was lost when the run began", error) from error
        if not begun or not isinstance(error, Exception | Abort):
            raise
        log.debug("the end of the flow run could not be reported", exc_info=error)
    if failure:
        raise failure
    assert summary is not None
    return summary


def _leave_if_lost(patience: float) -> None:
    """Leave the flow without a word to a server that is not there, which Prefect would wait for twice.

    Raises:
        Abort: if it does not come back.
    """
    global _left  # noqa: PLW0603 - what a process still has to send, it has for one server
    deadline = time.monotonic() + (0 if lost_server() else patience)
    while not answers():
        if time.monotonic() >= deadline:
            _left = True
            log.warning(LOST, address())
            raise Abort("the server is lost")
        time.sleep(POLL)


def answers() -> bool:
    """Tell whether the server answers now; a new client does not ask again where a connection is refused."""
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True, httpx_settings={"timeout": ANSWER}) as client,
        ):
            return client.api_healthcheck() is None
    except ServerErrors:
        return False


def record_process(flow: "Flow[..., Any]", flow_run: FlowRun, state: "State[Any]") -> None:  # noqa: ARG001
    """Note on a flow run which process it runs in, unless that was said when it was created; a hook of flows.

    Runs of dead processes are closed as well: workers and flows that Python calls begin here.
    """
    if PROCESS_TAG in (flow_run.context or {}):
        return
    with server_errors("cannot be written"), get_client(sync_client=True) as client:
        client.update_flow_run_labels(flow_run.id, dict(process_tags()))
        close_orphans(client)


def close_orphans(client: SyncPrefectClient) -> list[str]:
    """Set flow runs whose process on this machine is gone to Crashed, their task runs first; return the flow runs' ids.

    The task runs come first, so that what is interrupted here is done by the next start.
    """
    orphans = [run for run in _open_runs(client) if is_orphan({**(run.context or {}), **run.labels})]
    for run in orphans:
        of_run = FlowRunFilter.model_validate({"id": {"any_": [run.id]}})
        open_ones = TaskRunFilter.model_validate({"state": {"type": {"any_": [*OPEN, StateType.SCHEDULED]}}})
        while tasks := client.read_task_runs(flow_run_filter=of_run, task_run_filter=open_ones, limit=PAGE):
            for task in tasks:
                client.set_task_run_state(task.id, Crashed(message=ORPHANED), force=True)
        client.set_flow_run_state(run.id, Crashed(message=ORPHANED), force=True)
    return [str(run.id) for run in orphans]


def _open_runs(client: SyncPrefectClient) -> list[FlowRun]:
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(
            flow_filter=FlowFilter.model_validate({"name": {"any_": [*KINDS, *OF_NO_KIND]}}),
            flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": OPEN}}}),
            sort=FlowRunSort.START_TIME_ASC,
            limit=PAGE,
            offset=len(found),
        )
        found += page
        if len(page) < PAGE:
            return found


@contextmanager
def server_errors(what: str) -> Iterator[None]:
    """Turn what Prefect's client raises about its server into a `GradusError` of one line; only for its calls."""
    try:
        yield
    except ServerErrors as error:
        raise _refused(what, error) from error


def _refused(what: str, error: BaseException) -> GradusError:
    return GradusError(f"Prefect's server at {address()} {what}: {_reason(error)}; {ADVICE}")


def _reason(error: BaseException) -> str:
    """Return what an error, or the one that it came from, says of the server."""
    came_from = list(causes(error))
    for cause in came_from:
        if isinstance(cause, httpx.HTTPStatusError):
            return f"it answers {cause.response.status_code} {cause.response.reason_phrase}".rstrip()
    for cause in reversed(came_from):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[0].lower() + cause.strerror[1:]
    for cause in came_from:
        if isinstance(cause, httpx.HTTPError):
            return one_line(cause, 200).rstrip(".") or f"no answer ({type(cause).__name__})"
    return "it does not answer as a Prefect server does"


def address() -> str:
    """Return the address of the server in use, without a password, to be shown."""
    from prefect.settings import PREFECT_API_URL

    return without_password(PREFECT_API_URL.value() or os.environ.get("PREFECT_API_URL", "(none named)"))


def send_the_rest() -> None:
    """Let Prefect send the logs and events that it still has, for a while.

    By itself, when Python ends, it waits for a server that is gone: some seconds for each of them.
    """
    if _left:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for service in (APILogWorker, EventsWorker):
        service.drain_all(timeout=SENDING)
