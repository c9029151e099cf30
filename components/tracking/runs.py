"""One MLflow run a flow run: opened first, always closed, written to by its id from any thread."""

import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from components.core.durable import locked
from components.core.errors import GradusError, TrackingError
from components.tracking import resuming
from components.tracking.config import TrackingConfig
from components.tracking.names import ERROR_TAG, FLOW_RUN_TAG, LOST, NOTE_TAG, ORPHANED, OUTBOX_TAG
from components.tracking.outbox.journal import Outbox
from components.tracking.outbox.syncing import is_left_to_sync
from components.tracking.provenance import code_tags, is_orphan, process_tags, user_tags
from components.tracking.run import Run
from components.tracking.stores import every, one_line, open_client, shown_store, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["Run", "attached", "describe_error", "open_run", "reconcile"]

EVIDENCE_TAG = "gradus.evidence"

_OPEN: dict[str, Run] = {}
"""The runs that this process holds open, by their keys."""

log = logging.getLogger(__name__)


@contextmanager
def open_run(
    config: TrackingConfig,
    home: Path,
    name: str,
    params: Mapping[str, JsonValue],
    tags: Mapping[str, str] | None = None,
    again: str | None = None,
) -> Iterator[Run]:
    """Open an MLflow run, and close it however the block ends.

    A store that is away holds nothing up: what is meant for it is kept, and sent when it answers, or by `gradus sync`.

    FINISHED when the block does; FAILED with the error's text in the tag `gradus.error` and on the run's page;
    KILLED when it is interrupted (Ctrl-C, exit, a termination signal turned into an exception). Runs that a killed
    process of this machine left open are closed first; one of this very config is gone on in instead.

    Args:
        config: the section `tracking`.
        home: the folder of the local store.
        name: the run's name.
        params: the whole resolved config, nested, JSON-able.
        tags: further tags.
        again: the id of a run that has ended, to go on in; its parameters must be the same.

    Raises:
        TrackingError: if the store refuses the run (no rights, no such database, a deleted experiment), or the home
            cannot be written.
    """
    tags = {resuming.CONFIG_TAG: resuming.config_hash(params), **(tags or {})}
    run = _open(config.experiment, home, name, tags, again)
    with ExitStack() as stack:
        stack.callback(_OPEN.pop, run.key)
        stack.enter_context(_closing(run))
        run.log_params(params)
        if config.system_metrics:
            from components.tracking.monitoring import system_metrics

            stack.enter_context(system_metrics(run))
        yield run


@contextmanager
def attached(run_id: str, home: Path) -> Iterator[Run]:
    """Write to a run that another part of the program holds open, or that has ended; all is sent in the end.

    Raises:
        TrackingError: if nobody here holds it open, and the store cannot be reached, or has no such run.
    """
    for run in list(_OPEN.values()):
        if run_id in (run.run_id, run.key):
            yield run
            return
    with tracking_errors(f"cannot find MLflow run {run_id}"):
        found = open_client(home).get_run(run_id)
    known = {"run_id": run_id, "experiment_id": found.info.experiment_id, "attached": True}
    outbox = Outbox.create(home, uuid.uuid4().hex, name=found.info.run_name, store=shown_store(home), **known)
    run = Run(found.info.run_name, outbox, home)
    run.params, run.tags = dict(found.data.params), dict(found.data.tags)
    try:
        yield run
    finally:
        run.leave()


def _open(experiment: str, home: Path, name: str, tags: dict[str, str], again: str | None) -> Run:
    """Create the run, or write down that it is to be created once the store answers."""
    outbox = Outbox.create(home, uuid.uuid4().hex, name=name, store=shown_store(home))
    place = {OUTBOX_TAG: str(outbox.folder)}
    run = Run(name, outbox, home, partial(_go_on, home, again))
    run.tags = {**user_tags(), **code_tags(), **process_tags(), **place, **tags}
    try:
        run.record("create", experiment=experiment, name=name, tags=run.tags)
    except BaseException:
        run.stop()
        outbox.remove()
        raise
    _OPEN[run.key] = run
    return run


@contextmanager
def _closing(run: Run) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        # What is no Exception is an interruption: KeyboardInterrupt, SystemExit, Prefect's TerminationSignal.
        status, reason = "FAILED" if isinstance(error, Exception) else "KILLED", describe_error(error)
        error.run_id = run.run_id  # type: ignore[attr-defined]  # for whoever reports the error
        evidence = getattr(error, "evidence", None)
        kept = {EVIDENCE_TAG: str(evidence)} if evidence else {}
        try:
            try:
                run.set_tags({ERROR_TAG: reason, NOTE_TAG: f"{status.capitalize()}: {reason}", **kept})
            finally:
                run.close(status)
        except TrackingError as of_store:  # which must not hide the error that ends the run
            log.warning("%s", of_store)
        raise
    else:
        run.close("FINISHED")


def describe_error(error: BaseException) -> str:
    """Return an error's text on one line; with its type unless it is one that Gradus words itself."""
    text = one_line(error, limit=4000)
    if isinstance(error, GradusError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _go_on(
    home: Path, again: str | None, client: "MlflowClient", experiment_id: str, tags: dict[str, str]
) -> str | None:
    """Close the runs of killed processes, and go on in that of this very config, if one was; return its id.

    Or in the run `again`, however that has ended.
    """
    # Two processes that start at once must not go on in the same run, nor close it for each other.
    with locked(home / ".runs.lock"):
        reconcile(client, experiment_id, tags.get(FLOW_RUN_TAG))
        with tracking_errors("cannot go on in an MLflow run"):
            return resuming.go_on(client, experiment_id, tags, again)


def reconcile(client: "MlflowClient", experiment_id: str, flow_run: str | None = None) -> list[str]:
    """Set runs to KILLED whose process on this machine is gone (`kill -9`, power loss), and return their ids.

    A run that came to its end while the store was away is left to `gradus sync`; what a killed one has left to be sent
    is sent first. A run of `flow_run`, which Prefect's server has given to this process, was that of a machine that is
    lost; should that come back, it says itself how its run ended.

    Raises:
        TrackingError: if the store cannot be read or written.
    """
    with tracking_errors("cannot close the runs of killed processes"):
        running = list(every(client.search_runs, [experiment_id], "attributes.status = 'RUNNING'"))
        gone = {}
        for run in running:
            if is_orphan(run.data.tags):
                if not is_left_to_sync(run.data.tags):
                    gone[run.info.run_id] = ORPHANED
            elif flow_run and run.data.tags.get(FLOW_RUN_TAG) == flow_run:
                gone[run.info.run_id] = LOST
        for run_id, reason in gone.items():
            client.set_tag(run_id, ERROR_TAG, reason)
            client.set_tag(run_id, NOTE_TAG, f"Killed: {reason}")
            client.set_terminated(run_id, "KILLED")
    return list(gone)
