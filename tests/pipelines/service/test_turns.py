"""A run that its server has begun elsewhere, or too often, or whose slot is gone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import Abort
from prefect.runtime import flow_run
from prefect.states import Cancelling, Crashed, Pending, Running

from components.core.errors import GradusError
from pipelines import deployed
from pipelines.service.turns import SlotLost, say_if_slot_was_lost, times_begun


@pytest.fixture(autouse=True)
def _home(isolated: Path) -> None:
    isolated.mkdir()


def crash_and_begin(client: SyncPrefectClient, times: int = 1) -> None:
    """Do what a server does with a run whose machine it takes for lost, and then another machine."""
    for _ in range(times):
        for state in (Crashed(), Pending(), Running()):
            client.set_flow_run_state(flow_run.get_id(), state, force=True)  # type: ignore[arg-type]


def run(work: Callable[[], Any], before: Callable[[], None] = lambda: None) -> Any:
    @flow(persist_result=False)
    def worked() -> Any:
        before()
        return deployed.in_one_line(work)

    return worked(return_state=True)


def test_a_run_of_its_own_ends_as_it_would(client: SyncPrefectClient) -> None:
    state = run(times_begun)
    assert (state.name, state.result()) == ("Completed", 1)
    assert times_begun() == 0


def test_one_that_was_begun_elsewhere_meanwhile_says_nothing(client: SyncPrefectClient) -> None:
    seen: list[Any] = []

    def work() -> str:
        seen.append(flow_run.get_id())
        crash_and_begin(client)
        return "done"

    with pytest.raises(Abort):
        run(work)
    assert client.read_flow_run(seen[0]).state_name == "Running"  # as the other machine has said


@pytest.mark.ci
def test_one_that_fails_after_it_was_begun_elsewhere_says_nothing_either(client: SyncPrefectClient) -> None:
    def work() -> None:
        crash_and_begin(client)
        raise GradusError("no room left")

    with pytest.raises(Abort):
        run(work)


def test_one_that_has_crashed_three_times_fails_and_says_why(client: SyncPrefectClient) -> None:
    done = []
    state = run(lambda: done.append(1), before=lambda: crash_and_begin(client, times=3))
    assert state.name == "Failed"
    assert "crashed 3 times" in state.message
    assert not done
    assert run(lambda: "done", before=lambda: crash_and_begin(client, times=2)).name == "Completed"


def test_one_whose_slot_is_gone_is_crashed_so_that_it_is_begun_again(client: SyncPrefectClient) -> None:
    def work() -> None:
        raise SlotLost("Prefect's server has given its slot away")

    state = run(work)
    assert (state.name, state.message) == ("Crashed", "Prefect's server has given its slot away")


def test_what_took_too_long_is_no_lost_slot(client: SyncPrefectClient) -> None:
    @flow
    def slow() -> None:
        say_if_slot_was_lost(TimeoutError("Scope timed out"))

    assert slow(return_state=True).name == "Completed"


def test_one_that_was_cancelled_is_not_begun_again(client: SyncPrefectClient) -> None:
    done = []

    def cancelled() -> None:
        client.set_flow_run_state(flow_run.get_id(), Cancelling(), force=True)  # type: ignore[arg-type]
        crash_and_begin(client)

    assert run(lambda: done.append(1), before=cancelled).name == "Cancelled"
    assert not done
