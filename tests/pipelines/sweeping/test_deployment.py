"""Runs of a sweep that workers take, as seen through a Prefect server."""

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Scheduled

from pipelines.sweeping.deployment import FlowRunJob


@flow
def nothing() -> None:
    """What is never run."""


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_somebody_deletes_has_failed() -> None:
    with get_client(sync_client=True) as client:
        created = client.create_flow_run(nothing, state=Scheduled())
        job = FlowRunJob(created.id)
        assert not job.wait(0)
        client.delete_flow_run(created.id)
    job.stop()
    assert job.wait(0)
    assert f"flow run {created.id} is Crashed" in job.failure()
