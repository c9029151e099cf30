"""Logits against peers on the same weights, and what happens when weights do not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from components.core.errors import WeightsError
from components.models.classifier import Classifier
from components.models.config import GPTSize, ModelConfig, Pooling
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel
from components.models.pretrained.files import find_weights
from components.models.weights import check_shapes, load_weights, make_gpt, make_transformer, save_weights
from tests.tutorial import tutorial_classifier, tutorial_model

TINY = GPTSize(layers=3, heads=4, width=32, context=24)
VOCABULARY = 101
TOKENS = torch.randint(VOCABULARY, (3, 24), generator=torch.Generator().manual_seed(7))


def with_telling_biases(gpt: LanguageModel) -> LanguageModel:
    """Biases and norms are 0 and 1 at first, and would show nothing."""
    torch.manual_seed(11)
    for name, parameter in gpt.named_parameters():
        if name.endswith("bias") or "ln_" in name:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.3)
    return gpt


def peer(tied: bool = True) -> GPT2LMHeadModel:
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=24, n_embd=32, n_layer=3, n_head=4, tie_word_embeddings=tied,
        bos_token_id=0, eos_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    model.train(False)
    for name, parameter in model.named_parameters():  # biases and norms are 0 and 1 at first, and would show nothing
        if name.endswith("bias") or "ln_" in name:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.3)
    return model


def config(**values: Any) -> ModelConfig:
    return ModelConfig(**{"size": TINY, "weights": "random", **values})


def written(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def in_layout(model: GPT2LMHeadModel, prefix: bool, buffers: bool, head: bool) -> dict[str, torch.Tensor]:
    tensors = dict(model.state_dict())
    if not head:
        del tensors["lm_head.weight"]
    if buffers:
        mask = torch.ones(24, 24).tril().view(1, 1, 24, 24)
        tensors |= {f"transformer.h.{layer}.attn.bias": mask for layer in range(3)}
        tensors |= {f"transformer.h.{layer}.attn.masked_bias": torch.tensor(-1e4) for layer in range(3)}
    return tensors if prefix else {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}


@pytest.mark.ci
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("buffers", [True, False])
def test_logits_equal_those_of_transformers(tmp_path: Path, tied: bool, prefix: bool, buffers: bool) -> None:
    model = peer(tied)
    folder = written(tmp_path, in_layout(model, prefix, buffers, head=not tied))
    gpt = make_gpt(config(tie_embeddings=tied), VOCABULARY, folder, seed=0)
    with torch.no_grad():
        expected, found = model(TOKENS).logits, gpt.eval()(TOKENS)
    assert expected.abs().max() > 1
    assert (found - expected).abs().max() < 1e-4


def test_what_transformers_itself_saves_is_read_in_one_file_and_in_shards(tmp_path: Path) -> None:
    model = peer()
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    for name in ("one", "shards"):
        gpt = make_gpt(config(), VOCABULARY, find_weights(str(tmp_path / name), tmp_path), seed=0)
        assert (gpt.eval()(TOKENS) - model(TOKENS).logits).abs().max() < 1e-4


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_reads_what_is_saved_here(tmp_path: Path, tied: bool) -> None:
    model = peer(tied)
    model.save_pretrained(tmp_path)
    gpt = make_gpt(config(tie_embeddings=tied), VOCABULARY, None, seed=1).eval()
    save_weights(gpt, tmp_path / "model.safetensors")
    again = GPT2LMHeadModel.from_pretrained(tmp_path)
    again.train(False)
    assert (again(TOKENS).logits - gpt(TOKENS)).abs().max() < 1e-4


@pytest.mark.parametrize("tied", [True, False])
def test_saved_weights_come_back_bit_by_bit(tmp_path: Path, tied: bool) -> None:
    gpt = make_gpt(config(tie_embeddings=tied), VOCABULARY, None, seed=1)
    save_weights(gpt, tmp_path / "model.safetensors")
    again = make_gpt(config(tie_embeddings=tied), VOCABULARY, tmp_path, seed=2)
    assert all(map(torch.equal, gpt.parameters(), again.parameters()))


def test_an_untied_head_starts_as_a_copy_of_the_embedding(tmp_path: Path) -> None:
    folder = written(tmp_path, in_layout(peer(), prefix=False, buffers=True, head=False))
    gpt = make_gpt(config(tie_embeddings=False), VOCABULARY, folder, seed=0)
    assert gpt.lm_head is not None
    assert torch.equal(gpt.lm_head.weight, gpt.transformer.wte.weight)
    assert gpt.lm_head.weight.data_ptr() != gpt.transformer.wte.weight.data_ptr()


def test_a_network_without_a_head_reads_any_gpt2(tmp_path: Path) -> None:
    model = peer(tied=False)
    folder = written(tmp_path, in_layout(model, prefix=True, buffers=False, head=True))
    transformer = make_transformer(config(), VOCABULARY, folder, seed=0).eval()
    hidden = model.transformer(TOKENS).last_hidden_state
    assert (transformer(TOKENS) - hidden).abs().max() < 1e-4


def test_a_saved_classifier_serves_as_weights(tmp_path: Path) -> None:
    model = Classifier(make_transformer(config(), VOCABULARY, None, seed=4), 3)
    save_weights(model, tmp_path / "model.safetensors")
    transformer = make_transformer(config(), VOCABULARY, tmp_path, seed=5)
    assert all(map(torch.equal, model.transformer.parameters(), transformer.parameters()))


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    tensors = in_layout(peer(), prefix=False, buffers=False, head=False)
    folder = written(tmp_path, {name: tensor.bfloat16() for name, tensor in tensors.items()})
    gpt = make_gpt(config(), VOCABULARY, folder, seed=0)
    assert {parameter.dtype for parameter in gpt.parameters()} == {torch.float32}


def test_logits_equal_the_tutorials_on_the_same_weights() -> None:
    gpt = with_telling_biases(make_gpt(config(tie_embeddings=False), VOCABULARY, None, seed=6).eval())
    tutorial = tutorial_model(gpt)
    assert (tutorial(TOKENS) - gpt(TOKENS)).abs().max() < 1e-4


@pytest.mark.parametrize(("pooling", "length"), [("last_position", 24), ("last_token", 17)])
def test_a_classifier_equals_the_tutorials_on_the_same_weights(pooling: Pooling, length: int) -> None:
    gpt = with_telling_biases(make_gpt(config(tie_embeddings=False), VOCABULARY, None, seed=6))
    model = Classifier(gpt.transformer, 2, pooling, seed=8).eval()
    tutorial = tutorial_classifier(model)
    expected = tutorial(TOKENS)[:, length - 1]
    assert (model(TOKENS, torch.full((3,), 17)) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("size", "vocabulary", "told"),
    [
        (TINY, 99, r"wte.weight has shape \(101, 32\) in .*, the model needs \(99, 32\)"),
        (TINY.model_copy(update={"context": 16}), 101, r"wpe.weight has shape \(24, 32\) in .*needs \(16, 32\)"),
        (TINY.model_copy(update={"width": 16}), 101, r"has shape .*the model needs"),
        (TINY.model_copy(update={"layers": 2}), 101, r"have h\.2\..*, which the model has not; check model.size"),
        (TINY.model_copy(update={"layers": 4}), 101, r"lack 12 of 52 tensors, the first is h\.3\."),
    ],
)
def test_weights_of_another_shape_are_refused(tmp_path: Path, size: GPTSize, vocabulary: int, told: str) -> None:
    folder = written(tmp_path, in_layout(peer(), prefix=True, buffers=True, head=False))
    with pytest.raises(WeightsError, match=told):
        make_gpt(config(size=size), vocabulary, folder, seed=0)
    with torch.device("meta"):
        outline = LanguageModel(GPT2(size, vocabulary))
    if told.startswith("lack"):
        check_shapes(outline, folder)
    else:
        with pytest.raises(WeightsError, match=told):
            check_shapes(outline, folder)


def test_shapes_are_named_as_the_file_has_them(tmp_path: Path) -> None:
    tensors = in_layout(peer(), prefix=True, buffers=False, head=False)
    tensors["transformer.h.0.attn.c_attn.weight"] = torch.zeros(96, 32)
    with pytest.raises(WeightsError, match=r"c_attn.weight has shape \(96, 32\) in .*needs \(32, 96\)"):
        make_gpt(config(), VOCABULARY, written(tmp_path, tensors), seed=0)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, {"model.layers.0.self_attn.q_proj.weight": torch.zeros(2, 2)})
    with pytest.raises(WeightsError, match=r"lack 40 of 40 tensors.*no gpt2's"):
        make_gpt(config(), VOCABULARY, folder, seed=0)


def test_a_head_of_its_own_is_not_dropped_silently(tmp_path: Path) -> None:
    folder = written(tmp_path, in_layout(peer(tied=False), prefix=True, buffers=False, head=True))
    with pytest.raises(WeightsError, match=r"set model\.tie_embeddings to false"):
        make_gpt(config(tie_embeddings=True), VOCABULARY, folder, seed=0)


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, in_layout(peer(), prefix=True, buffers=False, head=False)) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be read") as raised:
        load_weights(LanguageModel(GPT2(TINY, VOCABULARY)), tmp_path)
    assert "\n" not in str(raised.value)


def test_saved_files_are_fp32_and_in_the_layout_of_transformers(tmp_path: Path) -> None:
    gpt = make_gpt(config(), VOCABULARY, None, seed=1).bfloat16()
    save_weights(gpt, tmp_path / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    assert tensors["transformer.h.0.attn.c_attn.weight"].shape == (32, 96)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert "lm_head.weight" not in tensors
