import sys
from pathlib import Path

import pandas as pd
import pytest

from components.core.errors import TrackingError, WeightsError
from components.models.saved.classifier import LoadedClassifier, load_classifier
from components.serving.language_model import Responder
from components.serving.load import load_model, saved_folder
from components.tracking.registry.packages import classifier_package

TEXTS = ["WINNER!!", "see you"]


@pytest.mark.ci
def test_a_saved_classifier_and_a_logged_model_predict_the_same(saved_model: Path, tmp_path: Path) -> None:
    expected = load_classifier(saved_model).predict(TEXTS)
    classifier_package(saved_model, TEXTS).write(tmp_path / "logged", run_id=None)
    path = list(sys.path)
    for folder in (saved_model, str(saved_model), tmp_path / "logged"):
        pd.testing.assert_frame_equal(load_model(folder).predict(TEXTS), expected)
    assert sys.path == path, "the model's copy of the code is not put before this installation's"


def test_the_classifier_in_a_logged_model_may_have_any_folder_name(saved_model: Path, tmp_path: Path) -> None:
    inside = tmp_path / "artifacts" / "kept"
    inside.parent.mkdir()
    inside.symlink_to(saved_model)
    assert saved_folder(tmp_path) == inside


@pytest.mark.ci
def test_either_kind_is_known_by_its_card(saved_model: Path, saved_language_model: Path) -> None:
    assert isinstance(load_model(saved_model), LoadedClassifier)
    responder = load_model(saved_language_model.as_uri())
    assert isinstance(responder, Responder)
    assert responder.respond(["hello"])["stopped"].tolist() in (["end"], ["marker"], ["length"])
    assert responder.respond([])["new_tokens"].dtype == "int64"


def test_an_address_is_fetched(saved_model: Path) -> None:
    assert load_model(saved_model.as_uri()).predict(TEXTS)["label"].isin(["ham", "spam"]).all()


def test_what_is_no_classifier_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="holds no model"):
        load_model(tmp_path)
    with pytest.raises(TrackingError, match="cannot fetch the model") as caught:
        load_model((tmp_path / "nowhere").as_uri())
    assert "\n" not in str(caught.value)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(WeightsError):
        load_model(tmp_path)
