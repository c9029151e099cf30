"""What stands behind the tabs of the page, without Gradio: the same runs, models and answers as the commands have."""

from pathlib import Path

import pytest

from components.core.errors import ConfigError, TrackingError
from components.models.saved.classifier import load_classifier
from components.serving.language_model import DEFAULTS, load_responder
from pipelines.cli.page.classify import classify
from pipelines.cli.page.compare import comparison
from pipelines.cli.page.respond import answers, writers
from pipelines.cli.page.runs import model_rows, one_model, one_run, run_rows
from pipelines.cli.page.shared import Shelf, run_choices
from tests.pipelines import commands
from tests.pipelines.labelled_runs import labelled_run
from tests.pipelines.written_runs import written_run


@pytest.fixture(scope="module")
def name() -> str:
    """The registered classifier of the whole module."""
    return "classifier"


@pytest.fixture(scope="module")
def classified(home: Path, saved_model: Path, name: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two finished runs of one registered classifier, the first its champion."""
    folder = tmp_path_factory.mktemp("predictions")
    runs = [labelled_run(home, folder, saved_model, name, wrong) for wrong in (30, 5)]
    promoted = commands.gradus("promote", runs[0], "--force", "--reason", "a trial", GRADUS_HOME=str(home))
    assert promoted.returncode == 0, promoted.stderr
    return runs


def test_runs_stand_as_gradus_runs_lists_them(home: Path, classified: list[str], name: str) -> None:
    rows = {row[0]: row for row in run_rows(home)}
    first, second = (rows[run[:8]] for run in classified)
    assert (first[1], first[4], first[5]) == ("made", "finished", "accuracy 0.8500")
    assert [row[6] for row in (first, second)] == [f"{name}/1 @champion", f"{name}/2 @candidate"]
    shown = one_run(classified[0], home)
    assert [part in shown for part in (classified[0], f"models:/{name}/1", "0.8500")] == [True] * 3
    with pytest.raises(TrackingError, match="no run begins with 00000000"):
        one_run("0" * 8, home)


def test_models_stand_with_their_champions_and_history(home: Path, classified: list[str], name: str) -> None:
    [row] = [row for row in model_rows(home) if row[0] == name]
    assert row[1:] == ["2", "version 1  accuracy 0.8500", "version 2  accuracy 0.9750"]
    shown = one_model(name, home)
    assert [part in shown for part in ("forced", "a trial", f"the champion of {name} is version 1")] == [True] * 3


def test_a_home_without_a_run_is_no_error(tmp_path: Path) -> None:
    assert (run_rows(tmp_path), model_rows(tmp_path), run_choices(tmp_path), writers(tmp_path)) == ([], [], [], [])


def test_two_runs_are_compared_in_a_frame_of_its_own(home: Path, classified: list[str]) -> None:
    shown = comparison(*classified, home)
    assert "<iframe" in shown
    assert "&lt;html" in shown
    for first, second in ((classified[0], classified[0]), (classified[0], None)):
        with pytest.raises(ConfigError, match="choose two different runs"):
            comparison(first, second, home)


def test_a_message_has_the_label_that_the_model_gives_and_weights_for_its_words(
    home: Path, classified: list[str], name: str, saved_model: Path
) -> None:
    text = "You have <b>won</b> a prize"
    expected = load_classifier(saved_model).predict([text])
    shelf = Shelf(home)
    for address in (classified[0], classified[0][:8], f"models:/{name}@champion"):
        labels, words = classify(text, address, shelf)
        assert labels["spam"] == pytest.approx(expected["p_spam"][0])
    assert words.count('style="--strength') == len(text.split())
    assert "&lt;b&gt;won&lt;/b&gt;" in words
    for text, model, says in ((" ", name, "type a message"), ("a", None, "choose a model")):
        with pytest.raises(ConfigError, match=says):
            classify(text, model, shelf)
    with pytest.raises(TrackingError, match="no-such"):
        classify("a", "models:/no-such/1", shelf)


@pytest.mark.ci
def test_an_instruction_is_answered_by_those_that_are_there(home: Path, saved_language_model: Path) -> None:
    written_run(home, saved_language_model, "alone")
    assert "alone" in writers(home)
    *_, found = answers("alone", "Say hello", "", 20, 0, Shelf(home))
    config = DEFAULTS.model_copy(update={"max_new_tokens": 20})
    expected = load_responder(saved_language_model).respond(["Say hello"], config=config)["response"][0]
    assert (found["candidate"].text, found["candidate"].missing) == (expected, False)
    assert (found["champion"].missing, "gradus promote" in found["champion"].text) == (True, True)
    assert (found["base"].missing, "random weights" in found["base"].text) == (True, True)


def test_the_base_is_what_training_went_on_from(home: Path, saved_language_model: Path) -> None:
    first = written_run(home, saved_language_model, "before")
    written_run(home, saved_language_model, "after", f"runs:/{first}")
    *_, found = answers("after", "Say hello", "", 8, 0, Shelf(home))
    assert (found["base"].model, found["base"].missing) == (f"runs:/{first}", False)
    assert found["base"].text == found["candidate"].text


def test_a_language_model_is_not_classified_with_nor_a_classifier_asked_to_write(
    home: Path, classified: list[str], name: str, saved_language_model: Path
) -> None:
    written_run(home, saved_language_model, "writes")
    with pytest.raises(ConfigError, match="language model, which has no labels"):
        classify("a", "models:/writes/1", Shelf(home))
    assert name not in writers(home)
    *_, found = answers(name, "a", "", 8, 0, Shelf(home))
    assert all(each.missing for each in found.values())
