"""Events on Prefect's server, by which one thing that has happened starts the next: `deploy/prefect.yaml` says what."""

from collections.abc import Mapping
from typing import Any

from components.core.errors import GradusError

DATA_PUBLISHED = "gradus.data.published"
MODEL_REGISTERED = "gradus.model.registered"
MODEL_DEGRADED = "gradus.model.degraded"
MODEL_PROMOTED, MODEL_ROLLED_BACK = "gradus.model.promoted", "gradus.model.rolled_back"


def emit(event: str, resource: str, labels: Mapping[str, str], payload: Mapping[str, Any]) -> bool:
    """Send an event to the server that `PREFECT_API_URL` names, and wait until it has taken it.

    Args:
        event: what has happened, one of the names above.
        resource: to what, such as `gradus.model.spam-demo`.
        labels: what a trigger may choose by.
        payload: what a trigger may hand on to a flow.

    Returns:
        False if no server is set up.

    Raises:
        GradusError: if it does not take it.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    if not PREFECT_API_URL.value():
        return False
    from prefect.client.orchestration import get_client
    from prefect.events.schemas.events import Event, Resource

    from pipelines.prefect_runs import ANSWER, server_errors

    about = Resource({"prefect.resource.id": resource, **labels})
    told = Event(event=event, resource=about, payload=dict(payload))
    with (
        server_errors("did not take the event"),
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}),
        get_client(sync_client=True, httpx_settings={"timeout": ANSWER}) as client,
    ):
        client.request("POST", "/events", json=[told.model_dump(mode="json")]).raise_for_status()
    return True


def tell_of_candidate(model: str, run_id: str, kind: str, preset: str) -> str | None:
    """Tell Prefect's server of a new candidate, which may start its promotion; that nobody hears it is no error.

    Args:
        model: its address, `models:/NAME/VERSION`.
        run_id: the MLflow run that made it.
        kind: of that run.
        preset: of that run.

    Returns:
        A warning, if a server is set up and does not take it.
    """
    name = model.removeprefix("models:/").partition("/")[0]
    labels = {"gradus.kind": kind, "gradus.preset": preset}
    try:
        emit(MODEL_REGISTERED, f"gradus.model.{name}", labels, {"model": model, "name": name, "run_id": run_id})
    except GradusError as error:
        return f"nothing is started by the new candidate {model}: {error}"
    return None
