"""What `gradus deploy` leaves on a server, once and again."""

from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.events import Resource, ResourceSpecification
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from components.core.errors import ConfigError, GradusError
from pipelines.service.deploy import deploy
from tests.pages import ROOT

FILE = ROOT / "deploy/prefect.yaml"


@pytest.mark.slow
def test_it_may_be_repeated(client: SyncPrefectClient) -> None:
    names = ["classification/training", "instruction/training", "promotion/champion", "sweep/sweep", "judging/judging"]
    names.append("monitoring/daily")
    found = deploy(FILE)
    assert found.pools == ["gradus"]
    assert found.deployments == names
    deployments = [client.read_deployment_by_name(name) for name in names]
    automations = {each.name for each in client.read_automations()}
    assert automations == {
        "new data for a classifier",
        "new data for a language model",
        "a new candidate",
        "a degraded champion",
        "runs whose process is gone are crashed",
        "crashed runs are begun again",
    }
    assert client.read_work_pool("gradus").type == "process"

    again = deploy(FILE)
    assert again.pools == []
    assert [client.read_deployment_by_name(name).id for name in names] == [each.id for each in deployments]
    assert len(client.read_automations()) == len(automations)


def test_a_killed_run_is_begun_again_however_it_is_reported_and_one_that_was_stopped_is_not() -> None:
    rules = yaml.safe_load((ROOT / "deploy/automations.yaml").read_text())["automations"]
    (begun_again,) = [each["trigger"]["match"] for each in rules if each["name"] == "crashed runs are begun again"]

    def matches(message: str) -> bool:
        run = {"prefect.resource.id": "prefect.flow-run.1", "prefect.state-message": message}
        return ResourceSpecification(begun_again).matches(Resource(run))

    reports = ("Process exited with status code: {}.", "Flow run infrastructure exited with non-zero status code {}.")
    for report in reports:
        assert all(matches(report.format(code)) for code in (-9, -6, -11, 137, 134, 139))
        assert not any(matches(report.format(code)) for code in (1, 2, -15, 143, -2, 130))
    assert not matches("Execution was aborted by a termination signal.")


def test_every_parameter_of_a_form_has_a_type_and_says_what_it_is() -> None:
    for entry in yaml.safe_load(FILE.read_text())["deployments"]:
        schema = parameter_schema(load_flow_from_entrypoint(entry["entrypoint"], use_placeholder_flow=False))
        for key, parameter in schema.properties.items():
            assert parameter["description"], (entry["name"], key)
            assert "type" in parameter or "anyOf" in parameter, (entry["name"], key)


@pytest.mark.usefixtures("prefect_server")
def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*nothing\.yaml"):
        deploy(tmp_path / "nothing.yaml")
    wrong = tmp_path / "prefect.yaml"
    wrong.write_text("- a\n- list\n")
    with pytest.raises(ConfigError, match="mapping"):
        deploy(wrong)
    entry = {"name": "broken", "entrypoint": "pipelines.deployed.nothing", "work_pool": {"name": "gradus"}}
    wrong.write_text(yaml.safe_dump({"name": "gradus", "deployments": [entry]}))
    with pytest.raises(GradusError, match="nothing"):
        deploy(wrong)
    wrong.write_text(yaml.safe_dump({"name": "gradus", "deployments": []}))
    (tmp_path / "automations.yaml").write_text(yaml.safe_dump({"automations": [{"name": "no trigger"}]}))
    with pytest.raises(ConfigError, match=r"automations\.yaml.*trigger"):
        deploy(wrong)


@pytest.mark.usefixtures("nobody")
def test_without_a_server_it_says_so() -> None:
    with pytest.raises(ConfigError, match="PREFECT_API_URL"):
        deploy(FILE)
