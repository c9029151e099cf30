"""The Llama family is what `transformers` computes: plain, padded, packed, cached, learnt."""

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from components.core.errors import WeightsError
from components.generation.config import GenerationConfig
from components.generation.decoding import generate
from components.models.classifier import Classifier
from components.models.config import LoraConfig, ModelConfig
from components.models.fast import without
from components.models.fast.prepared import prepared
from components.models.fast.unpadded import hidden_states, places_to_compute
from components.models.language_model import LanguageModel
from components.models.llama import Llama
from components.models.lora import add_adapters, merge_adapters
from components.models.sizes import size_from_settings
from components.models.weights import make_gpt, save_weights

WORDS = 101
BASE: dict[str, Any] = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
    "intermediate_size": 80, "vocab_size": WORDS, "max_position_embeddings": 64, "eos_token_id": None,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
FAMILY = {
    "llama 2": LlamaConfig(**BASE),
    "one key-value head a head": LlamaConfig(**{**BASE, "num_key_value_heads": 6}),
    "llama 3": LlamaConfig(**BASE, rope_parameters=LLAMA3),
    "smollm2": LlamaConfig(
        **BASE, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1e5}
    ),
    "linear": LlamaConfig(**BASE, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}),
    "yarn": LlamaConfig(**BASE, rope_parameters=YARN),
    "yarn with bounds of its own": LlamaConfig(**BASE, rope_parameters={**YARN, "beta_fast": 8, "beta_slow": 2}),
    "yarn with a factor of its own": LlamaConfig(**BASE, rope_parameters={**YARN, "attention_factor": 1.3}),
    "biases": LlamaConfig(**BASE, attention_bias=True, mlp_bias=True),
    "mistral": MistralConfig(**BASE, sliding_window=5, head_dim=16),
    "mistral without window": MistralConfig(**BASE, sliding_window=None),
    "qwen2.5": Qwen2Config(**BASE, tie_word_embeddings=True),
    "qwen2 with a window": Qwen2Config(**BASE, use_sliding_window=True, sliding_window=6, max_window_layers=1),
    "qwen3": Qwen3Config(**BASE, head_dim=16),
}


@pytest.fixture(params=FAMILY)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[PreTrainedModel, LanguageModel]:
    """A random model of the family in `transformers`, and ours with its weights, read from the folder that it saves."""
    torch.manual_seed(0)
    peer = AutoModelForCausalLM.from_config(FAMILY[request.param], attn_implementation="eager").eval()
    with torch.no_grad():
        for name, weights in peer.named_parameters():
            weights.copy_(torch.randn_like(weights) * 0.2 + ("norm" in name))
    peer.save_pretrained(tmp_path)
    model = ModelConfig(weights=str(tmp_path), size="auto", vocabulary="auto")
    return peer, make_gpt(model, WORDS, tmp_path, seed=0).eval()


def tokens(rows: int = 2, length: int = 30) -> Tensor:
    return torch.randint(WORDS, (rows, length), generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def test_nothing_is_warned_of_in_bf16(both: tuple[PreTrainedModel, LanguageModel]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.autocast("cpu", torch.bfloat16):
            both[1](tokens())
        prepared(both[1].transformer, torch.bfloat16)(tokens())


@pytest.mark.ci
@torch.no_grad()
def test_logits(both: tuple[PreTrainedModel, LanguageModel]) -> None:
    peer, ours = both
    expected = peer(tokens()).logits
    assert expected.abs().max() > 1
    torch.testing.assert_close(ours(tokens()), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_padded_rows(both: tuple[PreTrainedModel, LanguageModel]) -> None:
    peer, ours = both
    lengths = torch.tensor([30, 11, 5, 9, 7])
    mask = torch.arange(30) < lengths[:, None]
    expected = peer(tokens(5), attention_mask=mask.long()).logits
    places = places_to_compute(lengths, 30)
    assert places is not None
    hidden = hidden_states(ours.transformer, tokens(5), places)
    torch.testing.assert_close(F.linear(hidden, ours.head)[mask], expected[mask], atol=1e-4, rtol=0)


@pytest.mark.ci
@torch.no_grad()
def test_rows_packed_one_after_the_other(both: tuple[PreTrainedModel, LanguageModel]) -> None:
    peer, ours = both
    first, second = tokens(1, 18), tokens(1, 12)
    positions = torch.cat([torch.arange(18), torch.arange(12)])[None]
    entry = torch.tensor([0] * 18 + [1] * 12)
    visible = (entry[:, None] == entry).tril()[None]
    hidden = ours.transformer(torch.cat([first, second], dim=1), False, visible, positions)
    expected = torch.cat([peer(first).logits, peer(second).logits], dim=1)
    torch.testing.assert_close(F.linear(hidden, ours.head), expected, atol=1e-4, rtol=0)


@pytest.mark.ci
def test_gradients(both: tuple[PreTrainedModel, LanguageModel]) -> None:
    peer, ours = both
    for model, logits in ((peer, peer(tokens()).logits), (ours, ours(tokens()))):
        model.zero_grad()
        F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens()[:, 1:].flatten()).backward()
    expected = dict(peer.named_parameters())
    prefix = ours.transformer.names.prefix
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        own = expected[name.replace("transformer.", prefix)].grad
        torch.testing.assert_close(parameter.grad, own, atol=1e-4, rtol=1e-4)


@pytest.mark.ci
@torch.no_grad()
def test_greedy_tokens_with_a_cache_and_without(both: tuple[PreTrainedModel, LanguageModel]) -> None:
    peer, ours = both
    expected = peer.generate(tokens(length=9), max_new_tokens=20, do_sample=False, pad_token_id=0)[:, 9:]
    for prompt, following in zip(tokens(length=9).tolist(), expected.tolist(), strict=True):
        assert list(generate(ours, prompt, GenerationConfig(max_new_tokens=20))) == following


@pytest.mark.ci
@torch.no_grad()
def test_transformers_reads_what_is_saved(both: tuple[PreTrainedModel, LanguageModel], tmp_path: Path) -> None:
    peer, ours = both
    save_weights(ours, tmp_path / "model.safetensors")
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(tokens()).logits, peer(tokens()).logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_short_attention_in_bf16_shares_heads_as_plain_attention_does() -> None:
    network = small()
    with torch.autocast("cpu", torch.bfloat16):
        fast = network(tokens())
        with without("short attention"):
            plain = network(tokens())
    assert not torch.equal(fast, plain)
    torch.testing.assert_close(fast.float(), plain.float(), atol=0.05, rtol=0.05)


def small(layers: int = 2) -> Llama:
    network = Llama(size_from_settings({**LlamaConfig(**BASE).to_dict(), "num_hidden_layers": layers}, "small"), WORDS)
    network.initialise(3)
    return network.eval()


@pytest.mark.ci
@pytest.mark.parametrize("targets", ["all", "attention", "feed_forward", ["self_attn.v_proj", "mlp.up_proj"]])
@pytest.mark.parametrize("option", [{}, {"rslora": True}, {"dora": True}])
def test_adapters_learn_and_merge(targets: Any, option: dict[str, bool]) -> None:
    plain = small()
    adapted = copy.deepcopy(plain)
    add_adapters(adapted, LoraConfig(rank=4, targets=targets, **option), seed=1)
    torch.testing.assert_close(adapted(tokens()), plain(tokens()), atol=1e-5, rtol=1e-5)
    optimiser = torch.optim.AdamW([each for name, each in adapted.named_parameters() if "lora_" in name], lr=1e-2)
    for _ in range(3):
        adapted(tokens()).square().mean().backward()
        optimiser.step()
    expected = adapted(tokens())
    assert (expected - plain(tokens())).abs().max() > 0.01
    merge_adapters(adapted)
    torch.testing.assert_close(adapted(tokens()), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_classifier_pools_the_same_padded_or_not() -> None:
    model = Classifier(small(), 3).eval()
    lengths = torch.tensor([30, 11, 5, 9, 7])
    plain, places = model(tokens(5), lengths), model.places(tokens(5), lengths)
    assert places is not None
    torch.testing.assert_close(model(tokens(5), lengths, places), plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(tokens(5)[1:2, :11], lengths[1:2]), plain[1:2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "gemma3"}, "gemma3"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "longrope"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"num_attention_heads": 5}, "kv_heads"),
    ],
)
def test_what_is_not_known_is_refused_by_its_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(WeightsError, match=named):
        size_from_settings({**LlamaConfig(**BASE).to_dict(), **change}, "weights")


def test_a_config_without_a_shape_is_refused() -> None:
    with pytest.raises(WeightsError, match="num_hidden_layers"):
        size_from_settings({"model_type": "llama"}, "weights")


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (MistralConfig, {}),
        (Qwen2Config, {"use_sliding_window": True, "num_hidden_layers": 30}),
        (Qwen3Config, {"use_sliding_window": True, "num_hidden_layers": 30}),
    ],
)
def test_what_a_config_leaves_out_is_as_in_transformers(config: type[PreTrainedConfig], named: dict[str, Any]) -> None:
    left_out = {"model_type": config.model_type, **BASE, "max_position_embeddings": 8192, **named}
    whole = config(**{name: value for name, value in left_out.items() if name != "model_type"}).to_dict()
    found, expected = size_from_settings(left_out, "weights"), size_from_settings(whole, "weights")
    assert (found.window, found.windowed) == (expected.window, expected.windowed)
    assert expected.windowed
