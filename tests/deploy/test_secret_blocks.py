"""What runs have to know and nobody may read is kept in Prefect's secret blocks."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.service import Service, wait_until, with_password
from tests.pages import ROOT

BLOCK = """
import sys
from prefect.blocks.system import Secret
Secret(value=sys.argv[1]).save("gradus-env-mlflow-tracking-uri", overwrite=True)
"""
DEPLOY = f"gradus deploy --file {ROOT}/deploy/prefect.yaml --json"
pytestmark = [pytest.mark.slow, pytest.mark.minutes]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with with_password(tmp_path) as service:
        yield service


def test_a_run_gets_what_a_secret_block_holds_and_the_server_shows_none_of_it(service: Service, tmp_path: Path) -> None:
    said = service.type(DEPLOY)
    assert json.loads(said[said.index("{") :])["secrets"] == []
    (tmp_path / "block.py").write_text(BLOCK)
    secret = f"sqlite:///{tmp_path}/only-the-block-knows.db"
    service.type(f"python {tmp_path}/block.py {secret}")
    for _ in range(2):  # it can be repeated
        said = service.type(DEPLOY)
        assert json.loads(said[said.index("{") :])["secrets"] == ["MLFLOW_TRACKING_URI"]
    service.start("prefect worker start --pool gradus --limit 1")
    with service.client() as client:
        deployment = client.read_deployment_by_name("promotion/champion")
        run_id = client.create_flow_run_from_deployment(deployment.id, parameters={"model": "nobody"}).id

        def ended() -> bool:
            return bool(client.read_flow_run(run_id).state.is_final())

        wait_until(ended, service)
        assert client.read_flow_run(run_id).state.is_failed()
        shown = client.read_work_pool("gradus").model_dump_json() + deployment.model_dump_json()
    assert (tmp_path / "only-the-block-knows.db").exists(), "the run went to the MLflow that the block names"
    assert "only-the-block-knows" not in shown
    assert "prefect.blocks.secret.gradus-env-mlflow-tracking-uri" in shown
