"""A classifier that is served: what it predicts is what `gradus predict` does, whoever else asks meanwhile."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from components.models.saved.classifier import LoadedClassifier, load_classifier
from tests.patience import PATIENCE
from tests.serving.http.running import Running, running

TEXTS = ["WINNER!! Claim your prize", "see you at ten", 'say "hi",\nthen go', "Zoë 오늘 😀", "x" * 100]


@pytest.fixture(scope="module")
def classifier(saved_model: Path) -> LoadedClassifier:
    return load_classifier(saved_model)


@pytest.fixture(scope="module")
def server(saved_model: Path) -> Iterator[Running]:
    with running(load_classifier(saved_model), name="spam", most=8) as found:
        yield found


class Held:
    """A classifier that waits until it is let go, so that requests gather."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.let_go, self.sizes = threading.Event(), threading.Event(), list[int]()
        predict = LoadedClassifier.probabilities

        def probabilities(this: LoadedClassifier, texts: list[str], batch_size: int = 32) -> torch.Tensor:
            self.begun.set()
            assert self.let_go.wait(PATIENCE)
            self.sizes.append(len(texts))
            return predict(this, texts, batch_size)

        monkeypatch.setattr(LoadedClassifier, "probabilities", probabilities)


def assert_as_predicted(classifier: LoadedClassifier, texts: list[str], found: list[dict[str, Any]]) -> None:
    for expected, given in zip(classifier.predict(texts).to_dict("records"), found, strict=True):
        assert given["label"] == expected["label"]
        assert given["probability"] == pytest.approx(expected["probability"], abs=1e-6)
        assert given["probabilities"] == pytest.approx({name: expected[f"p_{name}"] for name in ("ham", "spam")})


def test_a_text_and_a_list_are_predicted_as_by_the_command(server: Running, classifier: LoadedClassifier) -> None:
    alone = server.ask("/predict", text=TEXTS[0]).json()
    assert alone["model"] == "spam"
    assert_as_predicted(classifier, TEXTS[:1], alone["predictions"])
    assert_as_predicted(classifier, TEXTS, server.ask("/predict", text=TEXTS).json()["predictions"])
    assert server.ask("/predict", text=[]).json()["predictions"] == []


def test_a_text_without_words_has_no_label(server: Running, classifier: LoadedClassifier) -> None:
    found = server.ask("/predict", text=["", "hello", " \n"]).json()["predictions"]
    assert [each["label"] is None for each in found] == [True, False, True]
    assert found[0] == {"label": None, "probability": None, "probabilities": None}
    assert_as_predicted(classifier, ["hello"], found[1:2])


def test_requests_that_wait_are_predicted_together(
    classifier: LoadedClassifier, saved_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    with running(load_classifier(saved_model), most=6) as server, ThreadPoolExecutor(6) as pool:
        first = pool.submit(server.ask, "/predict", text="first")
        assert held.begun.wait(PATIENCE)
        others = [pool.submit(server.ask, "/predict", text=[text, "more"]) for text in TEXTS[:4]]
        while server.figure("gradus_queue_length") < 8:
            pass
        held.let_go.set()
        found = [each.result().json()["predictions"] for each in (first, *others)]
        assert held.sizes == [1, 6, 2], "six at most, and no request in two"
    for texts, given in zip([["first"], *([text, "more"] for text in TEXTS[:4])], found, strict=True):
        assert_as_predicted(classifier, texts, given)


def test_a_full_queue_is_refused_and_who_hangs_up_leaves_it(
    classifier: LoadedClassifier, saved_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    with running(load_classifier(saved_model), queue=3) as server, ThreadPoolExecutor(6) as pool:
        first = pool.submit(server.ask, "/predict", text="first")
        assert held.begun.wait(PATIENCE)
        second = pool.submit(server.ask, "/predict", text=["a", "b", "c"])
        while server.figure("gradus_queue_length") < 3:
            pass
        refused = server.ask("/predict", text="one more")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "3 texts wait already, of 3" in refused.json()["error"]["message"]
        held.let_go.set()
        assert [first.result().status_code, second.result().status_code] == [200, 200]
        assert server.figure("gradus_queue_length") == 0


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "text: Field required"),
        ({"text": 3}, 400, "text: it should be a text, or a list of texts"),
        ({"text": ["a", 3]}, 400, "text: it should be a text, or a list of texts"),
        ({"texts": "a"}, 400, "text"),
        ({"text": "a", "model": "other"}, 404, "this server has 'spam'"),
        ({"text": ["a"] * 2049}, 400, "2,049 texts at once, of 2,048 at most"),
    ],
)
def test_what_cannot_be_predicted_is_refused(server: Running, body: dict[str, Any], status: int, says: str) -> None:
    found, error = server.error("/predict", **body)
    assert found == status
    assert says in error["message"]


def test_a_failure_is_told_and_the_next_request_is_answered(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret details")

    with monkeypatch.context() as patch:
        patch.setattr(LoadedClassifier, "probabilities", fail)
        status, error = server.error("/predict", text="a")
    assert (status, error["type"]) == (500, "server_error")
    assert "secret" not in error["message"]
    assert server.ask("/predict", text="a").status_code == 200


def test_a_language_models_routes_are_not_there(server: Running) -> None:
    status, error = server.error("/v1/chat/completions", model="spam", messages=[])
    assert (status, "there is no POST /v1/chat/completions here" in error["message"]) == (404, True)
    assert server.client.get("/v1/models").json()["data"][0]["id"] == "spam"
