"""Comparing two runs and promoting a model, on a real MLflow store, from Python and as commands."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from mlflow import MlflowClient

from components.core.errors import ConfigError, PromotionRefused, TrackingError
from components.tracking.reading import find_registered
from components.tracking.registry.finding import resolve_model
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.promotion import Promotion, make_champion
from components.tracking.registry.publishing import log_package
from components.tracking.runs import Run, attached, open_run
from pipelines.promoting.promote import promote
from tests.pipelines import commands
from tests.pipelines.commands import compare_runs
from tests.pipelines.labelled_runs import QUIET, ROWS, aliases

Make = Callable[..., str]


def gradus(home: Path, *arguments: str) -> CompletedProcess[str]:
    return commands.gradus(*arguments, GRADUS_HOME=str(home), COLUMNS="150")


@pytest.mark.ci
def test_a_comparison_says_what_differs_and_who_is_better(home: Path, make: Make, name: str) -> None:
    one = make(30, epochs="3", seed="1")
    other = make(5, epochs="4", seed="1", extra="yes")
    found = compare_runs(one, f"models:/{name}/2", home)
    assert (found.first.run_id, found.second.run_id) == (one, other)
    assert found.parameters == {"epochs": ("3", "4"), "extra": (None, "yes")}
    assert found.test is not None
    assert (found.test.rows, found.test.same_test_set, found.test.left_out) == (ROWS, True, 0)
    accuracy = found.test.figures[0]
    assert (accuracy.name, accuracy.first, accuracy.second, accuracy.better) == ("accuracy", 0.85, 0.975, "second")
    assert (found.test.only_first_right, found.test.only_second_right) == (0, 25)
    assert found.sentence.startswith(
        f"On the same 200 test rows run {other[:8]} is right significantly more often than run {one[:8]} "
        f"(97.5% against 85.0%, McNemar p < 0.001); run {other[:8]} is better in balanced accuracy, "
    )

    shown = gradus(home, "compare", one[:12], other)
    assert shown.returncode == 0, shown.stderr
    assert found.sentence in " ".join(shown.stdout.split())
    assert "epochs" in shown.stdout
    assert "seed" not in shown.stdout
    printed = json.loads(gradus(home, "compare", one, f"models:/{name}/2", "--json").stdout)
    assert printed == found.model_dump(mode="json")


@pytest.mark.ci
def test_two_that_err_alike_do_not_differ_significantly(home: Path, make: Make) -> None:
    one, other = make(10), make(13)
    found = compare_runs(one, other, home)
    assert "no significant difference" in found.sentence
    assert "McNemar p = 0.250" in found.sentence
    same = compare_runs(one, one, home)
    assert same.test is not None
    assert (same.test.p_value, same.parameters) == (1.0, {})


@pytest.mark.ci
def test_common_rows_are_compared_without_what_one_was_trained_on(home: Path, make: Make) -> None:
    one, other = make(10), make(0, start=150, train=("TEXT AF", "text bf", "elsewhere"))
    # Rows 150 to 199 stand in both test sets: `text uf` to `text rh`, with `text ag`, but not `text af`.
    found = compare_runs(one, other, home).test
    assert found is not None
    assert (found.rows, found.left_out, found.same_test_set, found.test_rows) == (50, 0, False, (ROWS, ROWS))
    leaked = make(0, start=150, train=("TEXT  AG",))
    found = compare_runs(one, leaked, home).test
    assert found is not None
    assert (found.rows, found.left_out) == (49, 1)


def test_runs_without_common_rows_are_refused(home: Path, make: Make) -> None:
    one, other = make(3), make(3, start=ROWS)
    done = gradus(home, "compare", one, other)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "gradus: not compared: of 200 and 200 test rows none is the same; run both on the same source and split"
    ]
    assert json.loads(gradus(home, "compare", one, other, "--json").stdout)["test"] is None


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("f" * 32, "there is no run ffff"),
        ("abcdef0123", "no run begins with abcdef0123"),
        ("models:/nobody@champion", "there is no registered model models:/nobody@champion"),
        ("models:/m-" + "0" * 32, "there is no model m-000"),
        ("yesterday's", "names no run"),
    ],
)
def test_an_address_that_leads_nowhere_is_named(home: Path, address: str, message: str) -> None:
    with pytest.raises(TrackingError, match=message):
        compare_runs(address, address, home)


def failed_run(home: Path) -> Run:
    with pytest.raises(ValueError, match="no"), open_run(QUIET, home, "failed", {"seed": "1"}) as run:
        raise ValueError("no")
    return run


def test_a_run_that_failed_is_shown_with_a_warning(home: Path, make: Make) -> None:
    one, failed = make(3), failed_run(home).run_id
    done = gradus(home, "compare", one, failed)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"gradus: run {failed[:8]} is failed, not finished",
        f"gradus: run {failed[:8]} left no predictions.parquet: there is nothing to test on",
    ]
    assert "seed" in done.stdout


@pytest.mark.ci
def test_a_run_that_took_everything_from_another_stands_for_it(home: Path, make: Make, name: str) -> None:
    one = make(3)
    model = MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(one).outputs.model_outputs[0].model_id
    with open_run(QUIET, home, "again", {}, {"cached_from": one}) as run:
        run.record("link", model_uri=f"models:/{model}", name=None, version=None, cached_from=None)
    found = compare_runs(one, run.run_id, home)
    assert found.test is not None
    assert (found.test.p_value, found.second.cached_from) == (1.0, one)
    assert promote(run.run_id, home).version == "1"
    assert aliases(home, name) == {"champion": "1"}


def test_the_first_model_is_promoted_and_one_that_is_worse_is_not(home: Path, make: Make, name: str) -> None:
    first = make(10)
    done = promote(first, home)
    assert (done.model, done.version, done.champion_before, done.changed) == (name, "1", None, True)
    again = gradus(home, "promote", first)
    assert (again.returncode, again.stdout) == (0, f"version 1 of {name} is the champion already\n")

    worse = make(18)
    refused = gradus(home, "promote", worse)
    assert refused.returncode == 1
    assert "non_inferiority" in refused.stdout
    assert refused.stderr.startswith(
        "gradus: not promoted: On the same 200 test rows the new model (version 2) is right on 91.0% and the champion "
        "(version 1) on 95.0% (difference -4.0 points, 95 % -7.7 to -2.0): it is not shown to be less than 1 point "
        "worse; about "
    )
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stderr.endswith("; --force --reason TEXT promotes it all the same\n")
    assert aliases(home, name) == {"champion": "1"}
    tags = MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(worse).data.tags
    assert not [tag for tag in tags if "promot" in tag]


def test_one_that_is_shown_not_to_be_worse_is_promoted_and_the_page_says_so(home: Path, make: Make, name: str) -> None:
    promote(make(30), home)
    other = make(13)
    done = gradus(home, "promote", f"models:/{name}@candidate", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["champion_before"], result["changed"], result["forced"], result["margin"]) == (
        "1",
        True,
        False,
        0.01,
    )
    assert [(each["version"], each["rows"], each["good_enough"]) for each in result["measured"]] == [("1", ROWS, True)]
    assert "it is better. On the same 200 test rows" in result["sentence"]
    assert aliases(home, name) == {"champion": "2", "previous_champion": "1"}
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    for tags in (client.get_model_version(name, "2").tags, client.get_run(other).data.tags):
        assert tags["gradus.promoted_over"] == "1"
        assert tags["gradus.promotion_evidence"].startswith("On the same 200 test rows the new model (version 2) is")
        assert tags["gradus.promotion_reason"] == "none given"
        assert tags["gradus.promoted_by"]
        assert tags["gradus.promoted_at"].endswith("+00:00")
        assert tags["gradus.promotion_margin"] == "0.01"


@pytest.mark.slow
def test_force_needs_a_reason_and_goes_back(home: Path, make: Make, name: str) -> None:
    promote(make(30), home)
    promote(make(2), home)
    back = f"models:/{name}@previous_champion"
    assert gradus(home, "promote", back).returncode == 1
    for reason in ([], ["--reason", " "]):
        refused = gradus(home, "promote", back, "--force", *reason)
        assert (refused.returncode, refused.stderr[:35]) == (2, "gradus: --force needs --reason TEXT")
    assert aliases(home, name) == {"champion": "2", "previous_champion": "1"}
    assert gradus(home, "promote", back, "--force", "--reason", "the new one is slow").returncode == 0
    assert aliases(home, name) == {"champion": "1", "previous_champion": "2"}
    tags = MlflowClient(f"sqlite:///{home}/mlflow.db").get_model_version(name, "1").tags
    assert tags["gradus.promotion_reason"] == "the new one is slow"
    assert "it is not shown to be less than 1 point worse" in tags["gradus.promotion_evidence"]


def test_an_unfinished_run_and_a_model_without_files_are_refused_even_by_force(
    home: Path, make: Make, saved_model: Path, name: str
) -> None:
    failed = failed_run(home)
    with attached(failed.run_id, home) as again:
        log_package(again, classifier_package(saved_model, ["a"]), name)
    with pytest.raises(PromotionRefused, match="is failed, not finished"):
        promote(failed.run_id, home, force=True, reason="it will do")
    make(3)
    shutil.rmtree(resolve_model(f"models:/{name}/2", home))
    with pytest.raises(PromotionRefused, match=f"the files of version 2 of {name} are gone"):
        promote(f"models:/{name}/2", home, force=True, reason="it will do")


def test_a_run_in_two_registries_has_to_be_told_which(home: Path, make: Make, saved_model: Path, name: str) -> None:
    run_id = make(3)
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    model = client.get_model_version(name, "1")
    client.create_registered_model(f"{name} 2")
    client.create_model_version(f"{name} 2", model.source, run_id, {"gradus.model_id": model.tags["gradus.model_id"]})
    with pytest.raises(TrackingError, match=r"is registered as .* and .*; say which: --model-name NAME"):
        promote(run_id, home)
    assert promote(run_id, home, f"{name} 2").model == f"{name} 2"
    with pytest.raises(TrackingError, match="has no registered model as nobody"):
        promote(run_id, home, "nobody")
    with pytest.raises(TrackingError, match="is no version of nobody"):
        promote(f"models:/{name}/1", home, "nobody")


def test_a_champion_that_changed_meanwhile_is_not_overwritten(home: Path, make: Make, name: str) -> None:
    make(3)
    promote(make(3), home)
    version = find_registered(f"models:/{name}/1", None, home)
    with pytest.raises(TrackingError, match="somebody else has just promoted"):
        make_champion(version, Promotion("evidence", over=None), home)
    assert aliases(home, name) == {"champion": "2"}
    with pytest.raises(ConfigError, match="needs --reason"):
        promote(f"models:/{name}/1", home, force=True)
