"""Whether MLflow's own webhooks tell of a champion: servers of MLflow 3.3 and later send them for each alias."""

import os
from pathlib import Path

from components.core.errors import TrackingError
from components.tracking.stores import every, open_client, tracking_errors, tracking_uri

OF_ALIASES = "model_version_alias.created"


def server_tells(url: str, home: Path) -> bool:
    """Say whether the registry is on a server that itself tells this address of every alias that is set.

    A database without a server sends nothing, whatever stands in it; an old server knows no webhooks.
    """
    if not (os.environ.get("MLFLOW_REGISTRY_URI") or tracking_uri(home)).startswith(("http://", "https://")):
        return False
    try:
        with tracking_errors("cannot look up the webhooks"):
            hooks = list(every(open_client(home).list_webhooks))
    except TrackingError:
        return False
    return any(hook.url == url and hook.status.is_active() and OF_ALIASES in map(str, hook.events) for hook in hooks)
