"""From which earlier model a run goes on, recorded where people look, and back to the first."""

from pathlib import Path

import pytest

from components.core.errors import TrackingError
from components.tracking.config import TrackingConfig
from components.tracking.registry.lineage import (
    PARENT_MODEL,
    PARENT_RUN,
    Ancestor,
    ancestors,
    lineage_sentence,
    log_lineage,
    parent_tags,
)
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.publishing import publish
from components.tracking.runs import Run, open_run
from tests.reporting.instructions import Steps, instruction_manifests

QUIET = TrackingConfig(system_metrics=False, experiment="lineage")
NAME = "continued"


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    return instruction_manifests(tmp_path_factory.mktemp("steps"))


@pytest.fixture(scope="module")
def first(home: Path, saved_model: Path, steps: Steps) -> Run:
    """A run that started from random weights; its model is version 1 and champion."""
    run = trained(home, saved_model, steps, "first", "random")
    run.client.set_registered_model_alias(NAME, "champion", "1")
    return run


def trained(home: Path, saved_model: Path, steps: Steps, name: str, weights: str) -> Run:
    digest = steps["fine_tune"].model_copy(update={"facts": {"trained by": name}})
    with open_run(QUIET, home, name, {"model": {"weights": weights}}) as run:
        log_lineage(run, weights, home)
        publish(
            run,
            {**steps, "fine_tune": digest},
            NAME,
            str,
            lambda: classifier_package(saved_model, ["a"]),
        )
    return run


def tags_of(run: Run) -> dict[str, str]:
    return dict(run.client.get_run(run.run_id).data.tags)


@pytest.mark.ci
@pytest.mark.parametrize("weights", ["random", "openai-community/gpt2", "a/folder", "0" * 32])
def test_what_is_no_earlier_model_leaves_no_trace(home: Path, weights: str) -> None:
    with open_run(QUIET, home, "new", {}) as run:
        assert log_lineage(run, weights, home) is None
    assert not {PARENT_MODEL, PARENT_RUN} & tags_of(run).keys()
    assert ancestors(run) == []
    assert lineage_sentence(ancestors(run)) == ""


def test_every_way_to_name_a_model_is_resolved_to_a_name_that_stays(first: Run, home: Path) -> None:
    model_id = first.client.get_run(first.run_id).outputs.model_outputs[0].model_id
    by_name, by_id = f"models:/{NAME}/1", f"models:/{model_id}"
    addresses = {
        f"models:/{NAME}@champion": by_name,
        f"models:/{NAME}/1": by_name,
        f"runs:/{first.run_id}/model": by_id,
        f"runs:/{first.run_id}": by_id,
        by_id: by_id,
    }
    for address, expected in addresses.items():
        with open_run(QUIET, home, "second", {}) as run:
            found = log_lineage(run, address, home)
        assert found == Ancestor(expected, first.run_id, "first", "random")
        assert parent_tags(run) == {PARENT_MODEL: expected, PARENT_RUN: first.run_id}
        inputs = run.client.get_run(run.run_id).inputs.model_inputs
        assert [each.model_id for each in inputs] == [model_id], "the run's page shows the model among its inputs"


def test_an_alias_that_moves_on_leaves_the_lineage_as_it_was(
    first: Run, home: Path, saved_model: Path, steps: Steps
) -> None:
    second = trained(home, saved_model, steps, "second", f"models:/{NAME}@champion")
    version = second.client.get_model_version_by_alias(NAME, "candidate")
    assert version.run_id == second.run_id
    assert version.tags.items() >= {PARENT_MODEL: f"models:/{NAME}/1", PARENT_RUN: first.run_id}.items()
    second.client.set_registered_model_alias(NAME, "champion", version.version)
    third = trained(home, saved_model, steps, "third", f"models:/{NAME}@champion")
    second.client.set_registered_model_alias(NAME, "champion", "1")
    assert [each.model for each in ancestors(third)] == [f"models:/{NAME}/{version.version}", f"models:/{NAME}/1"]
    assert lineage_sentence(ancestors(third)) == (
        f"Continues model models:/{NAME}/{version.version} of run second {second.run_id}, which continued "
        f"model models:/{NAME}/1 of run first {first.run_id}, which started from random."
    )


def test_a_model_that_is_not_there_stops_the_run_with_one_line(first: Run, home: Path) -> None:
    with pytest.raises(TrackingError, match="models:/nobody@champion"), open_run(QUIET, home, "lost", {}) as run:
        log_lineage(run, "models:/nobody@champion", home)
    assert not {PARENT_MODEL, PARENT_RUN} & tags_of(run).keys()


def test_a_run_that_is_gone_or_a_circle_ends_the_chain(home: Path) -> None:
    with open_run(QUIET, home, "orphan", {}) as orphan:
        orphan.set_tags({PARENT_MODEL: "models:/m-1", PARENT_RUN: "f" * 32})
    assert ancestors(orphan) == [Ancestor("models:/m-1", "f" * 32)]
    assert lineage_sentence(ancestors(orphan)) == f"Continues model models:/m-1 of run {'f' * 32}."
    with open_run(QUIET, home, "circle", {}) as circle:
        circle.set_tags({PARENT_MODEL: "models:/m-1", PARENT_RUN: circle.run_id})
    assert ancestors(circle) == [Ancestor("models:/m-1", circle.run_id, "circle")]


def test_a_long_chain_is_told_in_short() -> None:
    chain = [Ancestor(f"models:/n/{number}", f"r{number}", "nightly", "before") for number in range(30, 0, -1)]
    sentence = lineage_sentence(chain)
    assert sentence.startswith("Continues model models:/n/30 of run nightly r30, which continued model models:/n/29 of")
    assert ", which continued 25 more, back to model models:/n/1 of run nightly r1, which started from" in sentence
    assert len(lineage_sentence(chain[:5]).split("which continued")) == 5
