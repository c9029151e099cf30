"""A scheduled run that fails is told to whoever made a block for it on the server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.states import Failed

from tests.deploy.service import Service, with_password
from tests.pages import ROOT
from tests.patience import eventually
from tests.pipelines.promotion.receiver import receiving

NAME = "classification/training"
BLOCKS = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.webhook import Webhook
Webhook(url=sys.argv[1]).save("gradus-failures")
CustomWebhookNotificationBlock(
    name="gradus-failures", url=sys.argv[2], json_data={"told": "{{subject}}", "why": "{{body}}"}
).save("gradus-failures")
"""
pytestmark = [pytest.mark.slow, pytest.mark.minutes]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with with_password(tmp_path) as service:
        yield service


def fail(service: Service, tags: list[str]) -> None:
    with service.client() as client:
        deployment = client.read_deployment_by_name(NAME)
        run = client.create_flow_run_from_deployment(deployment.id, tags=tags)
        client.set_flow_run_state(run.id, Failed(message='there is no preset "spma"'), force=True)


def test_whoever_made_a_block_is_told_and_nobody_else(service: Service, tmp_path: Path) -> None:
    deploy = f"gradus deploy --file {ROOT}/deploy/prefect.yaml --json"
    said = service.type(deploy)
    assert json.loads(said[said.index("{") :])["left_out"] == ["a failed scheduled run is told"]
    with receiving(200) as webhook, receiving(200) as notified:
        (tmp_path / "blocks.py").write_text(BLOCKS)
        service.type(f"python {tmp_path}/blocks.py {webhook.url} {notified.url}")
        said = service.type(deploy)
        assert json.loads(said[said.index("{") :])["left_out"] == []
        fail(service, ["by-hand"])
        fail(service, ["auto-scheduled"])
        eventually(lambda: webhook.posts and notified.posts)
        (posted,) = webhook.posts
        told = json.loads(json.loads(posted[1]) if posted[1].startswith(b'"') else posted[1])
        assert (told["flow"], told["state"]) == ("classification", "Failed")
        assert told["message"] == 'there is no preset "spma"'
        (posted,) = notified.posts
        assert "scheduled run" in json.loads(posted[1])["told"]
        assert "spma" in json.loads(posted[1])["why"]
