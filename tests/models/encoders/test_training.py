"""Encoders are fine-tuned as decoders are: which part trains, frozen blocks, interruptions, what is saved."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModel

from components.models.config import LoraConfig, ModelConfig
from components.models.fast.states import open_states
from components.models.saved.classifier import load_classifier
from components.training.config import TrainConfig
from components.training.fine_tuning import Start
from components.training.frozen import cache_features
from tests.models.encoders.small_bert import small_bert
from tests.training.tuning import LABELS, QUICK, Recorder, tune, weights, write_splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bert(tmp_path_factory.mktemp("bert"))


def learn(folder: Path, tmp_path: Path, name: str = "out", **options: object) -> dict[str, object]:
    begun = {"weights": folder, "lora": LoraConfig(rank=4)}
    return tune(tmp_path, name, model=ModelConfig(weights=str(folder)), epochs=4, **begun, **options)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", [None, "cls"])
@pytest.mark.parametrize("trainable", ["all", "last_block", "last_layer", "lora"])
def test_what_trains(folder: Path, tmp_path: Path, trainable: str, pooling: str | None) -> None:
    facts = learn(folder, tmp_path, trainable=trainable, pooling=pooling)
    before = {name.removeprefix("bert."): each for name, each in AutoModel.from_pretrained(folder).named_parameters()}
    after = {name.removeprefix("bert."): each for name, each in weights(tmp_path).items()}
    changed = {name for name, each in before.items() if name in after and not torch.equal(each, after[name])}
    first, last = "encoder.layer.0.output.dense.weight", "encoder.layer.1.output.dense.weight"
    assert (first in changed) == (trainable in ("all", "lora"))
    assert (last in changed) == (trainable != "last_layer")
    assert ("pooler.dense.weight" in changed) == (pooling == "cls" and trainable in ("all", "last_block"))
    assert ("pooler.dense.weight" in after) == (pooling == "cls")
    losses = pd.read_parquet(tmp_path / "out/steps.parquet")["loss"]
    assert losses.tail(5).mean() < losses.head(5).mean()
    assert facts["trained_parameters"] > 0


@pytest.mark.ci
def test_what_is_saved_says_the_same_and_is_gone_on_from(folder: Path, tmp_path: Path) -> None:
    learn(folder, tmp_path)
    model = tmp_path / "out/model"
    card = json.loads((model / "model.json").read_text())
    assert (card["pooling"], card["causal"], card["size"]["token_types"]) == ("mean", False, 2)
    loaded = load_classifier(model)
    texts = ["win a prize number 3", "see you soon number 4 " * 20, ""]
    together, alone = loaded.predict(texts), pd.concat([loaded.predict([text]) for text in texts])
    assert together["p_spam"].tolist() == pytest.approx(alone["p_spam"].tolist(), abs=1e-5)
    learn(model, tmp_path, "again", pooling="cls")
    assert load_classifier(tmp_path / "again/model").card.pooling == "cls"


@pytest.mark.ci
def test_frozen_blocks_are_computed_once_with_the_same_losses(folder: Path, tmp_path: Path) -> None:
    write_splits(tmp_path)
    tables = {name: tmp_path / f"{name}.parquet" for name in ("train", "validation")}
    tables["test"], kept = tables["validation"], tmp_path / "frozen"
    kept.mkdir()
    start = Start(ModelConfig(weights=str(folder)), folder)
    for pooling in ("mean", "cls"):
        cache_features(tables, LABELS, start, TrainConfig(**QUICK | {"trainable": "last_block"}), kept)
        assert open_states(kept / "train.safetensors").blocks == 1
        for name, frozen in (("plain", None), ("fast", kept)):
            learn(folder, tmp_path, f"{name}-{pooling}", trainable="last_block", pooling=pooling, frozen=frozen)
        plain, fast = (pd.read_parquet(tmp_path / f"{name}-{pooling}/steps.parquet") for name in ("plain", "fast"))
        assert fast["loss"].tolist() == pytest.approx(plain["loss"].tolist(), abs=1e-4)


class StopAt(Recorder):
    def metrics(self, values: dict[str, float], step: int) -> None:
        if step == 13 and "curve/batch_loss" in values:
            raise KeyboardInterrupt


@pytest.mark.ci
def test_going_on_after_an_interruption_changes_no_bit(folder: Path, tmp_path: Path) -> None:
    learn(folder, tmp_path, "whole")
    with pytest.raises(KeyboardInterrupt):
        learn(folder, tmp_path, "parts", logger=StopAt())
    (tmp_path / "parts/model").rename(tmp_path / "so-far")
    learn(folder, tmp_path, "parts")
    whole, parts = weights(tmp_path, "whole"), weights(tmp_path, "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.ci
def test_a_text_that_is_cut_keeps_what_ends_it(folder: Path, tmp_path: Path) -> None:
    facts = learn(folder, tmp_path, max_length=5)
    assert facts["truncated_rows"] == {"train": 40, "validation": 12}
    loaded = load_classifier(tmp_path / "out/model")
    seen: list[torch.Tensor] = []
    loaded.model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    loaded.predict(["see you soon number 4"])
    (ending,) = loaded.encoding.ends
    assert seen[0].shape == (1, 5)
    assert seen[0][0, -1] == ending
