"""`train.fast=false`: without any fast path training comes to the same, but for rounding."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from components.models.config import Trainable
from components.models.fast import PATHS, fast_paths, uses, without
from components.training.config import TrainConfig, uses_cached_features
from tests.training.instructing import instruct
from tests.training.tuning import MODEL, tune, weights

WITHOUT_DROPOUT = MODEL.model_copy(update={"dropout": 0.0})
TOLERANCE = {"rtol": 0, "atol": 2e-5}


@pytest.mark.ci
@pytest.mark.parametrize("trainable", ["all", "last_block"])
def test_a_classifier_is_the_same_without_fast_paths(tmp_path: Path, trainable: Trainable) -> None:
    for name, fast in (("fast", True), ("plain", False)):
        facts = tune(tmp_path, name, model=WITHOUT_DROPOUT, trainable=trainable, fast=fast)
        assert facts["fast"] is fast
    plain = weights(tmp_path, "plain")
    for name, tensor in weights(tmp_path, "fast").items():
        torch.testing.assert_close(tensor, plain[name], msg=name, **TOLERANCE)


@pytest.mark.ci
def test_a_language_model_is_the_same_without_fast_paths(tmp_path: Path) -> None:
    model = WITHOUT_DROPOUT.model_copy(update={"size": MODEL.shape.model_copy(update={"context": 64})})
    for name, fast in (("fast", True), ("plain", False)):
        assert instruct(tmp_path, name, model=model, fast=fast)["fast"] is fast
    losses = [pd.read_parquet(tmp_path / name / "steps.parquet")["loss"] for name in ("fast", "plain")]
    pd.testing.assert_series_equal(*losses, check_exact=False, **TOLERANCE)


def test_blocks_are_not_computed_ahead_without_fast_paths() -> None:
    recipe = TrainConfig(trainable="last_block")
    assert uses_cached_features(WITHOUT_DROPOUT, recipe)
    assert not uses_cached_features(WITHOUT_DROPOUT, recipe.model_copy(update={"fast": False}))


def test_a_path_is_off_within_its_context_only() -> None:
    one, other, *_ = PATHS
    with without(one):
        assert not uses(one)
        assert uses(other)
        with fast_paths(on=False):
            assert not any(map(uses, PATHS))
        with fast_paths(on=True):
            assert not uses(one)
    assert all(map(uses, PATHS))
