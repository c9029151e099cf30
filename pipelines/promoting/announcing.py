"""Telling others that a champion has changed: an event for Prefect's server, and a webhook."""

import hashlib
import hmac
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from components.core.errors import GradusError
from components.core.http_client import HTTPError, answer, open_session, retried
from components.core.redaction import redact, remember_secret
from components.tracking.reading import Registered
from components.tracking.registry.history import Event
from components.tracking.registry.webhooks import server_tells
from pipelines.service.events import MODEL_PROMOTED, MODEL_ROLLED_BACK, emit

URL, SECRET = "GRADUS_WEBHOOK_URL", "GRADUS_WEBHOOK_SECRET"
"""Environment variables: where to, and what it is signed with. Neither is ever written anywhere."""
SIGNATURE = "X-Gradus-Signature"
"""Header: `sha256=` and the HMAC-SHA256 of the body, in hexadecimal."""
TIMEOUT, ATTEMPTS, BACKOFF = 10.0, 4, 1.0


def announce(version: Registered, event: Event, home: Path) -> list[str]:
    """Tell Prefect's server, if there is one, and the webhook, if one is set up.

    Returns:
        A line for each that could not be told. That undoes nothing.
    """
    name = MODEL_ROLLED_BACK if event.action == "rolled back" else MODEL_PROMOTED
    told = {"event": name, "model": version.name, "run_id": version.run_id, **asdict(event)}
    body = redact(json.dumps(told, ensure_ascii=False))
    lines: list[str] = []
    with _failures(lines):
        emit(name, f"gradus.model.{version.name}", {"gradus.model.version": version.number}, json.loads(body))
    if url := os.environ.get(URL):
        for secret in (url, urlsplit(url).path):  # whoever knows the path of some webhooks may post to them
            remember_secret(secret)
        with _failures(lines):
            _post(name, url, body.encode(), home)
    return lines


@contextmanager
def _failures(lines: list[str]) -> Iterator[None]:
    try:
        yield
    except (GradusError, HTTPError) as error:
        lines.append(redact(f"the champion has changed, but not everybody was told: {error}"))


def _post(name: str, url: str, body: bytes, home: Path) -> None:
    """Post to the webhook, unless MLflow's server does so by itself.

    Raises:
        GradusError: if there is no secret to sign with.
        HTTPError: if it is not taken, after several attempts.
    """
    if server_tells(url, home):
        return
    if not (secret := os.environ.get(SECRET)):
        raise GradusError(f"{URL} is set and {SECRET} is not; nothing is sent unsigned")
    headers = {
        "Content-Type": "application/json",
        "X-Gradus-Event": name,
        "X-Gradus-Delivery": str(uuid.uuid4()),
        SIGNATURE: f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}",
    }
    session = open_session()

    def attempt() -> None:
        # A redirect would turn the request into another one, and send it to who knows whom.
        request = {"data": body, "headers": headers, "allow_redirects": False}
        with answer(session, "POST", url, timeout=TIMEOUT, name="the webhook", accepted=range(200, 300), **request):
            pass

    retried(attempt, ATTEMPTS, BACKOFF)
