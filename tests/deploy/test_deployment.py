"""What deploy/ says, done: a Prefect server, the pool, the deployment, two workers, and the runs that they take."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prefect.client.orchestration import get_client

from components.core.errors import ConfigError
from pipelines.config import load_config
from pipelines.deployed import run_preset
from pipelines.promoting.promote import promote
from tests.deploy.service import Service, wait_until
from tests.pages import ROOT, read_page
from tests.pipelines.labelled_runs import labelled_run

FILE = ROOT / "deploy/prefect.yaml"
NAME = "classification/training"
RUN = f"prefect deployment run {NAME}"
CHAMPION = "promotion/champion"
SCHEDULE = "prefect deployment schedule"
SERVER = "prefect server start"
DEPLOY = "gradus deploy"
WORKER = "prefect worker start --pool gradus --limit 1"
BY_HAND = RUN + """ --watch --params '{"preset": "spam-demo", "overrides": ["train.max_steps=20"]}'"""
PROMOTE = f"prefect deployment run {CHAMPION}" + """ --watch --params '{"model": "models:/spam-demo@candidate"}'"""
BACK = f"prefect deployment run {CHAMPION}" + """ --watch --params '{"model": "spam-demo", "back": true}'"""
MONITOR = "prefect deployment run monitoring/daily --watch --params " + (
    """'{"model": "spam-demo", "data": "/data/arrived.tsv", "labelled": true}'"""
)
LIST = "prefect flow-run ls --flow-name classification"
LOGS = "prefect flow-run logs"
CANCEL = "prefect flow-run cancel"
TYPED = [
    *(
        "prefect deployment ls",
        SERVER,
        WORKER,
        BY_HAND,
        PROMOTE,
        BACK,
        MONITOR,
        LIST,
        f"{LOGS} FLOW_RUN",
        f"{CANCEL} FLOW_RUN",
    ),
    *(f"{SCHEDULE} ls {NAME}", f"{SCHEDULE} pause {NAME} SCHEDULE", f"{SCHEDULE} resume {NAME} SCHEDULE"),
]
"""The page's commands, each typed by a test below."""
EXPORTED = [
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_URL",
    "GRADUS_HOME",
    "GRADUS_STORE_REMOTE",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
]
WRONG = "there is no preset 'spma', did you mean 'spam'?; see `gradus presets`"


def page_commands(program: str) -> list[str]:
    return [command for command in read_page(ROOT / "deploy/README.md").commands if command.startswith(f"{program} ")]


def exports() -> dict[str, str]:
    return dict(command.removeprefix("export ").split("=", 1) for command in page_commands("export"))


# What can be seen without a service.


@pytest.mark.ci
def test_every_command_of_the_page_is_typed_here() -> None:
    assert page_commands("prefect") == TYPED
    assert list(exports()) == EXPORTED


def test_prefect_reads_every_key() -> None:
    from prefect.cli.deploy import _models as known

    def fields(model: Any) -> set[str]:
        return {field.alias or name for name, field in model.model_fields.items()}

    written = yaml.safe_load(FILE.read_text())
    known.PrefectYamlModel.model_validate(written)
    assert written.keys() <= fields(known.PrefectYamlModel)
    for deployment in written["deployments"]:
        assert deployment.keys() <= fields(known.DeploymentConfig)
        assert deployment["work_pool"].keys() <= fields(known.WorkPoolConfig)
        assert deployment["concurrency_limit"].keys() <= fields(known.ConcurrencyLimitSpec)
        for schedule in deployment["schedules"]:
            known.RawScheduleConfig.model_validate(schedule)


def test_what_it_deploys_can_be_run() -> None:
    from prefect.flows import load_flow_from_entrypoint

    deployments = yaml.safe_load(FILE.read_text())["deployments"]
    flows = [load_flow_from_entrypoint(each["entrypoint"], use_placeholder_flow=False) for each in deployments]
    names = [f"{flow.name}/{each['name']}" for flow, each in zip(flows, deployments, strict=True)]
    assert names == [NAME, "instruction/training", CHAMPION, "sweep/sweep", "judging/judging", "monitoring/daily"]
    for flow, each, preset in zip(flows, deployments[:2], ("spam", "instruct-smollm2"), strict=False):
        assert load_config(**flow.validate_parameters(each["parameters"])).name == preset


@pytest.mark.usefixtures("prefect_server")
def test_parameters_that_cannot_be_run_fail_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    state: Any = run_preset("spma", return_state=True)
    assert state.name == "Failed"
    assert state.message == WRONG
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(state.state_details.flow_run_id).name == "spma"
    state = run_preset("spam-demo", ["train.epoch=1", "train.batch_size=0"], return_state=True)
    assert state.is_failed()
    assert "train.epoch: unknown key, did you mean 'epochs'?" in state.message
    assert "\n" not in state.message
    with pytest.raises(ConfigError, match="there is no preset 'spma'"):
        run_preset("spma")
    monkeypatch.setenv("GRADUS_HOME", ".gradus")
    with pytest.raises(ConfigError, match="GRADUS_HOME is not an absolute path"):
        run_preset("spam-demo")


# The service.


def first_id(said: str) -> str:
    match = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", said)
    assert match, said
    return match[0]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Follow the page as far as a service that two machines work for."""
    told = {name: value for name, value in exports().items() if name != "GRADUS_STORE_REMOTE"}  # nobody's bucket
    service = Service(tmp_path_factory.mktemp("service"), told)
    try:
        service.start(SERVER)
        wait_until(service.answers, service)
        service.type(DEPLOY)
        service.start_on_new_machine(WORKER)
        service.start_on_new_machine(WORKER)
        yield service
    finally:
        service.stop()


@pytest.mark.slow
def test_the_server_answers_nobody_without_the_password(service: Service) -> None:
    count = f"{service.api}/deployments/count"
    assert requests.post(count, json={}, timeout=30).status_code == 401
    user, password = service.environment["PREFECT_API_AUTH_STRING"].split(":")
    assert requests.post(count, json={}, auth=(user, password), timeout=30).json() == 6


@pytest.mark.slow
def test_it_is_due_every_night(service: Service) -> None:
    with service.client() as client:
        deployment = client.read_deployment_by_name(NAME)
    (schedule,) = deployment.schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone, schedule.active) == ("30 2 * * *", "Etc/UTC", True)
    assert deployment.global_concurrency_limit.limit == 1
    assert deployment.concurrency_options.collision_strategy == "ENQUEUE"

    wait_until(lambda: len(service.planned()) >= 3, service)
    runs = service.planned()
    times = [run.expected_start_time for run in runs]
    assert {(due.hour, due.minute, due.utcoffset()) for due in times} == {(2, 30, timedelta())}
    assert timedelta() < times[0] - datetime.now(UTC) <= timedelta(days=1)
    assert times == [times[0] + timedelta(days=nights) for nights in range(len(times))]
    assert [run.parameters for run in runs] == [{"preset": "spam", "overrides": []}] * len(runs)

    schedule_id = first_id(service.type(f"{SCHEDULE} ls {NAME}"))
    service.type(f"{SCHEDULE} pause {NAME} {schedule_id}")
    assert service.planned() == []
    service.type(f"{SCHEDULE} resume {NAME} {schedule_id}")
    with service.client() as client:
        assert client.read_deployment_by_name(NAME).schedules[0].active


@pytest.mark.slow
def test_a_run_by_hand_is_one_flow_run_and_one_mlflow_run(service: Service) -> None:
    before = service.mlflow_statuses()
    run_id = first_id(service.type(BY_HAND))
    run = service.flow_run(run_id)
    assert (run.name, run.state.name) == ("spam-demo max_steps=20", "Completed")
    assert service.mlflow_statuses() == sorted([*before, "FINISHED"])
    assert run_id in service.type(LIST)
    assert "On 720 test rows the language model is" in service.type(f"{LOGS} {run_id}")


@pytest.mark.slow
def test_promotions_are_one_at_a_time_and_say_why_not(service: Service, saved_model: Path, tmp_path: Path) -> None:
    with service.client() as client:
        deployment = client.read_deployment_by_name(CHAMPION)
    assert deployment.global_concurrency_limit.limit == 1
    assert deployment.concurrency_options.collision_strategy == "ENQUEUE"
    for home in service.homes:  # either of the two machines may take a run
        for wrong in (60, 30):
            promote(labelled_run(home, tmp_path, saved_model, "spam-demo", wrong), home)
        labelled_run(home, tmp_path, saved_model, "spam-demo", 0)
    for command in (PROMOTE, BACK):
        assert service.flow_run(first_id(service.type(command))).state.name == "Completed"
    nobody = json.dumps({"model": "models:/nobody@candidate"})
    run_id = first_id(service.type(f"prefect deployment run {CHAMPION} --watch --params '{nobody}'", exit_code=1))
    assert "there is no registered model models:/nobody@candidate" in service.flow_run(run_id).state.message


@pytest.mark.slow
def test_a_champion_that_cannot_be_watched_fails_in_one_line(service: Service) -> None:
    run = service.flow_run(first_id(service.type(MONITOR, exit_code=1)))
    assert "arrived.tsv" in run.state.message or "there is no registered model" in run.state.message


@pytest.mark.slow
def test_a_run_that_is_cancelled_lets_the_next_one_begin(service: Service) -> None:
    parameters = json.dumps({"preset": "spam-demo", "overrides": ["train.epochs=900", "tracking.system_metrics=false"]})
    before = service.mlflow_statuses()
    first = first_id(service.type(f"{RUN} --params '{parameters}'"))
    wait_until(lambda: "fine_tune" in service.running_tasks(first), service)
    second = first_id(service.type(f"{RUN} --param preset=spma"))
    wait_until(lambda: service.flow_run(second).state.name == "AwaitingConcurrencySlot", service)
    assert service.flow_run(first).state.name == "Running"

    service.type(f"{CANCEL} {first}")
    wait_until(lambda: service.flow_run(first).state.name == "Cancelled", service)
    assert service.mlflow_statuses() == sorted([*before, "KILLED"])
    wait_until(lambda: service.flow_run(second).state.name == "Failed", service)
    assert service.flow_run(second).state.message == WRONG
