"""Tables and links on a flow run's page: good to have, but a run does not fail for want of them."""

from collections.abc import Callable
from typing import Any

import httpx
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.runtime import flow_run

from components.core.steps import run_logger

ServerErrors = (httpx.HTTPError, httpx.InvalidURL, OSError, RuntimeError, ValueError, TypeError, LookupError)
"""What Prefect's client raises where a server cannot be reached, refuses, or answers what no Prefect server would."""

_lost: set[str | None] = set()
"""Flow runs whose server was lost, by their ids."""


def show_table(key: str, table: list[dict[str, Any]], description: str) -> None:
    """Put a table on the flow run's page, if its server is there."""
    _show(create_table_artifact, key=key, table=table, description=description)


def show_link(key: str, link: str, text: str, description: str | None) -> None:
    """Put a link on the flow run's page, if its server is there."""
    _show(create_link_artifact, key=key, link=link, link_text=text, description=description)


def lost_server() -> bool:
    """Tell whether the server of the flow run under way was found lost."""
    return flow_run.get_id() in _lost


def _show(create: Callable[..., Any], **artifact: Any) -> None:
    if lost_server():
        return
    try:
        create(**artifact)
    except ServerErrors as error:
        _lost.add(flow_run.get_id())  # it was asked again and again, so the next artifact does not wait for it
        run_logger().debug("Prefect's server is lost: %s", error)
