"""The step that computes frozen blocks once: when it is there, what it depends on, and that later runs find it."""

import json

import numpy as np
import pytest
from mlflow import MlflowClient

from components.core.home import home
from components.models.fast.states import States
from components.tasks import download, fetch_weights, read_frozen, split, validate
from components.training.frozen import KEPT, bytes_left
from pipelines.check import check
from pipelines.config import load_config
from pipelines.kinds.classification.config import ClassificationConfig
from pipelines.kinds.classification.flow import classification

TINY = [
    "model.size={layers: 2, heads: 1, width: 16, context: 128}",
    "model.dropout=0",
    "train.trainable=last_block",
    "train.max_steps=4",
    "train.eval_every=2",
    "train.eval_batches=2",
    "tracking.system_metrics=false",
]
BEFORE = ["download", "validate", "split", "fetch_weights"]


def config(*overrides: str) -> ClassificationConfig:
    found = load_config("spam-demo", [*TINY, *overrides])
    assert isinstance(found, ClassificationConfig)
    return found


@pytest.mark.ci
@pytest.mark.usefixtures("prefect_server")
def test_another_learning_rate_finds_what_the_frozen_blocks_made() -> None:
    first = classification(config())
    assert first.cached_steps == []
    other = classification(config("train.learning_rate=1.0e-2", "train.max_steps=5", "train.keep=last"))
    assert other.cached_steps == [*BEFORE, "read_frozen"]
    facts = MlflowClient(f"sqlite:///{home()}/mlflow.db").download_artifacts(other.run_id, "facts.json")
    with open(facts) as file:  # noqa: PTH123
        found = json.load(file)["read_frozen"]
    assert (found["blocks"], found["kept"]) == (1, True)
    assert found["tokens"].keys() == {"train", "validation", "test"}
    files = {each.stem: each.stat().st_size for each in (home() / "store/read_frozen").glob("*/*.safetensors")}
    foretold, without = (check(config(*changed), further=False).cost for changed in ((), ("model.dropout=0.1",)))
    assert foretold.memory.data - without.memory.data > files["train"] + files["validation"]


@pytest.mark.ci
def test_what_the_frozen_blocks_depend_on() -> None:
    table = validate.without_prefect(download.without_prefect(config().source), config().validation)
    splits = split.without_prefect(table, config().split, config().balance)

    def key(*overrides: str) -> str:
        changed = config(*overrides)
        weights = fetch_weights.without_prefect(changed.model)
        return read_frozen.key({"splits": splits, "weights": weights, "model": changed.model, "train": changed.train})

    same = ("train.learning_rate=0.1", "train.epochs=2", "train.batch_size=3", "train.clip=null", "train.keep=last")
    assert {key(change) for change in same} == {key()}
    other = ("train.seed=5", "train.max_length=9", "train.precision=bf16", "train.trainable=last_layer")
    assert len({key(change) for change in other} | {key()}) == len(other) + 1


def test_kernels_are_kept_of_so_many_numbers_of_tokens_and_no_more() -> None:
    lengths = np.arange(1, 1001)
    few, many, all_of_them = (
        bytes_left({"train": States.blank(chosen, 1, "fp32", 1)}, "fp32") - 4 * int(chosen.sum())
        for chosen in (lengths[600:620], lengths[600:760], lengths[260:])
    )
    assert few == 20 * (many / KEPT) > 0
    assert many == all_of_them


def test_a_check_foretells_the_time_of_the_frozen_blocks_and_what_is_kept_of_them() -> None:
    found, without = check(config()).cost, check(config("model.dropout=0.1")).cost
    assert found is not None
    assert without is not None
    assert found.timing is not None
    assert without.timing is not None
    assert found.timing.frozen > 0 == without.timing.frozen
    parts = (found.timing.frozen, found.timing.training, found.timing.evaluating, found.timing.testing)
    assert found.timing.total == pytest.approx(sum(parts))
    assert found.memory.data > without.memory.data
