"""Runs of a sweep as flow runs of a deployment, which its workers share. Imports Prefect."""

import time
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling, Crashed

from components.core.errors import ConfigError
from components.tasks.shared import ServerErrors
from pipelines.prefect_runs import server_errors
from pipelines.sweeping.rows import Child


class FlowRunJob:
    """A flow run that a worker takes."""

    def __init__(self, flow_run: UUID) -> None:
        self._id = flow_run
        self._state: Any = None

    def wait(self, seconds: float) -> bool:
        """Ask the server, or wait so long; tell whether it has ended. A server that is away is asked again."""
        try:
            with suppress(*ServerErrors), get_client(sync_client=True) as client:
                self._state = client.read_flow_run(self._id).state
                if self._state and self._state.is_final():
                    return True
        except ObjectNotFound as error:  # somebody has deleted it
            self._state = Crashed(message=str(error))
            return True
        time.sleep(seconds)
        return False

    def stop(self) -> None:
        """Have the worker cancel it."""
        with suppress(ObjectNotFound, *ServerErrors), get_client(sync_client=True) as client:
            client.set_flow_run_state(self._id, Cancelling())

    def failure(self) -> str:
        """Return the message of the state that it ended in, unless it is completed."""
        if self._state.is_completed():
            return ""
        return f"flow run {self._id} is {self._state.name}: {self._state.message or 'no message'}"


class Deployment:
    """Submits each run to a deployment of `pipelines.deployed`, whose workers share them."""

    here = False

    def __init__(self, name: str) -> None:
        """Look for the deployment `FLOW/NAME`.

        Raises:
            ConfigError: if there is none.
            GradusError: if the server does not answer.
        """
        self.name = name
        try:
            with server_errors("cannot be used"), get_client(sync_client=True) as client:
                client.read_deployment_by_name(name)
        except ObjectNotFound as error:
            raise ConfigError(
                f"--deployment {name}: PREFECT_API_URL's server has no such deployment; `prefect deployment ls` lists "
                "them, as FLOW/NAME"
            ) from error

    def start(self, child: Child) -> FlowRunJob:
        """Submit a run; one that was submitted before, by a sweep that was killed, and is under way is waited for.

        Raises:
            GradusError: if the server does not answer.
        """
        key = first = f"{child.config.tracking.parent}-{child.identity}"
        while (created := self._submit(child, key)).state.is_final():  # of an earlier attempt
            key = f"{first}-{created.id}"
        return FlowRunJob(created.id)

    def _submit(self, child: Child, key: str) -> Any:
        """Submit a run; or return the one that was submitted with the same key."""
        with server_errors("cannot be used"):
            return run_deployment(
                self.name,
                parameters={"preset": child.row.preset, "overrides": child.overrides},
                flow_run_name=child.config.run_name,
                timeout=0,
                as_subflow=False,
                tags=["gradus-sweep"],
                idempotency_key=key,
            )
