"""`gradus judge A --against B` on a real MLflow store, with a judge that is a process of its own."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from tests.judging.serving import OllamaServer, serve
from tests.pipelines.answered_runs import ROWS, answered_run, gradus

Make = Callable[..., str]
DIFFERENT = 40
"""Test rows on which the two runs of these tests answer differently."""


@pytest.fixture
def ollama(tmp_path: Path) -> Iterator[OllamaServer]:
    with serve(tmp_path / "ollama") as server:
        yield server


@pytest.fixture(scope="module")
def make(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that records a finished run whose first `wrong` test responses are not the references."""
    numbers, folder = itertools.count(), tmp_path_factory.mktemp("runs")
    return lambda wrong, **more: answered_run(home, folder / str(next(numbers)), wrong, **more)


@pytest.fixture(scope="module")
def both(make: Make) -> tuple[str, str]:
    """Two runs of which the first answers some rows with the reference that the second has no idea of."""
    return make(20), make(20 + DIFFERENT)


def settings(server: OllamaServer, **more: object) -> list[str]:
    """Return options that name a judge of the test's own: the verdicts of others are kept in the module's home."""
    given = {"kind": "ollama", "url": server.url, "seed": server.port, "backoff": 0.01, **more}
    return [part for key, value in given.items() for part in ("--set", f"judge.{key}={value}")]


def artifacts(home: Path, run_id: str, folder: str, to: Path) -> Path:
    return Path(MlflowClient(f"sqlite:///{home}/mlflow.db").download_artifacts(run_id, folder, str(to)))


@pytest.mark.ci
def test_the_judge_sees_both_orders_and_all_is_logged(
    home: Path, both: tuple[str, str], ollama: OllamaServer, tmp_path: Path
) -> None:
    one, other = both
    done = gradus(home, "judge", one[:10], "--against", other, *settings(ollama), "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    outcome = found["outcome"]
    assert (found["run_id"], found["against"], found["same"]) == (one, other, ROWS - DIFFERENT)
    assert (outcome["rows"], outcome["asked"], outcome["flips"], outcome["unread"]) == (ROWS, DIFFERENT, 0, 0)
    assert outcome["wins"] + outcome["losses"] == DIFFERENT
    assert outcome["ties"] == ROWS - DIFFERENT
    assert outcome["win_rate"] == pytest.approx((outcome["wins"] + outcome["ties"] / 2) / ROWS)
    assert outcome["interval"][0] < outcome["win_rate"] < outcome["interval"][1]

    asked = [
        json.loads(chat["messages"][-1]["content"].split("<data>")[1].split("</data>")[0]) for chat in ollama.chats
    ]
    orders = {(each["first"], each["second"]) for each in asked}
    assert len(asked) == len(orders) == 2 * DIFFERENT
    assert all((second, first) in orders for first, second in orders)
    assert all("reference" not in each for each in asked)
    assert ollama.chats[0]["format"]["properties"]["better"]["enum"] == ["first", "second", "tie"]

    folder = artifacts(home, one, found["artifacts"], tmp_path)
    assert {path.name for path in folder.iterdir()} == {"preferences.parquet", "pairwise.json", "pairwise.yaml"}
    verdicts = pd.read_parquet(folder / "preferences.parquet")
    assert verdicts.groupby("order").size().to_dict() == {"first": DIFFERENT, "second": DIFFERENT}
    metrics = MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(one).data.metrics
    assert metrics[f"{found['artifacts']}/win_rate"] == pytest.approx(outcome["win_rate"])

    again = gradus(home, "judge", one, "--against", other, *settings(ollama))
    assert again.exit_code == 0, again.stderr
    assert len(ollama.chats) == 2 * DIFFERENT, "judging again asks nothing"
    assert "verdicts that flip with the order" in again.stdout
    assert found["sentence"] in " ".join(again.stdout.split())


def test_a_judge_that_prefers_a_place_flips_with_the_order(
    home: Path, both: tuple[str, str], ollama: OllamaServer
) -> None:
    ollama.behave(prefers="first")
    found = json.loads(gradus(home, "judge", both[0], "--against", both[1], *settings(ollama), "--json").stdout)
    assert (found["outcome"]["flip_share"], found["outcome"]["win_rate"]) == (1.0, 0.5)
    assert "no significant preference" in found["sentence"]
    assert "100.0% of the verdicts flip with the order" in found["sentence"]


@pytest.mark.ci
def test_a_judge_that_prefers_length_wins_less_where_length_is_controlled(
    home: Path, both: tuple[str, str], ollama: OllamaServer
) -> None:
    ollama.behave(prefers="longer")
    found = json.loads(gradus(home, "judge", both[0], "--against", both[1], *settings(ollama), "--json").stdout)
    outcome = found["outcome"]
    assert outcome["longer_won"] == 1.0
    assert outcome["win_rate"] > 0.6
    assert outcome["controlled"]["longer"] > 1
    assert abs(outcome["controlled"]["win_rate"] - 0.5) < abs(outcome["win_rate"] - 0.5)


def test_unreadable_verdicts_are_counted_and_too_many_end_it(
    home: Path, both: tuple[str, str], ollama: OllamaServer
) -> None:
    ollama.behave(fault="said", said={"content": "Both are nice."}, where="Say the number 21.")
    options = [home, "judge", both[0], "--against", both[1], "--json"]
    few = gradus(*options, *settings(ollama))  # type: ignore[arg-type]
    assert few.exit_code == 0, few.stderr
    found = json.loads(few.stdout)
    assert (found["outcome"]["rows"], found["outcome"]["unread"]) == (ROWS - 1, 1)
    assert found["judge"]["unparsed"] == {"the reply is no verdict": 2}
    assert "1 rows are left out" in few.stderr

    ollama.behave(fault="said", said={"content": "Both are nice."})
    many = gradus(*options, *settings(ollama, max_tokens=99))  # type: ignore[arg-type]
    assert many.exit_code == 1
    assert "verdicts on pairs of responses could not be read" in many.stderr


def test_what_cannot_be_judged_in_pairs_is_said_in_a_line(
    home: Path, make: Make, both: tuple[str, str], ollama: OllamaServer
) -> None:
    stranger = make(3, first=500)
    for arguments, said, code in (
        ([both[1]], "judge.kind=lexical has no preferences", 2),
        ([stranger, *settings(ollama)], "none is the same", 1),
        (["f" * 32, *settings(ollama)], "there is no run", 1),
        ([both[1], "--ratings"], "leave --against and --set out", 2),
    ):
        done = gradus(home, "judge", both[0], "--against", *arguments)
        [line] = done.stderr.splitlines()
        assert said in line
        assert done.exit_code == code
    assert ollama.chats == []
