"""Encoders are what `transformers` computes: plain, padded, without padding, learnt, saved, adapted."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    GPT2Config,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    XLMRobertaConfig,
)

from components.core.errors import ConfigError, WeightsError
from components.models.architecture import Transformer
from components.models.classifier import Classifier, classify
from components.models.config import LoraConfig, ModelConfig
from components.models.fast import without
from components.models.fast.prepared import prepared
from components.models.fast.unpadded import hidden_states, places_to_compute
from components.models.language_model import LanguageModel
from components.models.lora import add_adapters, merge_adapters
from components.models.saved.adapter import load_adapter, save_adapter
from components.models.sizes import size_from_settings
from components.models.weights import make_transformer, save_weights

WORDS = 101
BASE: dict[str, Any] = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6, "intermediate_size": 80, "vocab_size": WORDS,
    "max_position_embeddings": 40, "pad_token_id": 1,
}  # fmt: skip
DEBERTA_V3: dict[str, Any] = {
    "relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0,
}  # fmt: skip
FAMILIES: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**BASE),
    "roberta": RobertaConfig(**BASE, type_vocab_size=1),
    "modernbert": ModernBertConfig(**{**BASE, "num_hidden_layers": 4}, local_attention=8),
    "modernbert with biases": ModernBertConfig(
        **BASE,
        local_attention=128,
        layer_types=["sliding_attention"] * 2 + ["full_attention"],
        norm_bias=True,
        attention_bias=True,
        mlp_bias=True,
    ),
    "deberta": DebertaV2Config(**BASE, **DEBERTA_V3),
    "xlm-r": XLMRobertaConfig(**BASE, type_vocab_size=1, layer_norm_eps=1e-5),
}
YARN = {"full_attention": {"rope_type": "yarn"}}
LENGTHS = torch.tensor([30, 11, 5, 9, 7])
REAL = torch.arange(30) < LENGTHS[:, None]


@pytest.fixture(params=FAMILIES)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[PreTrainedModel, Transformer]:
    """A random model of the family in `transformers`, and ours with its weights, read from the folder that it saves."""
    peer = with_weights(AutoModel.from_config(FAMILIES[request.param], attn_implementation="eager"))
    peer.save_pretrained(tmp_path)
    return peer, read(tmp_path)


def with_weights(peer: Any) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weights in peer.named_parameters():
            weights.copy_(torch.randn_like(weights) * 0.2 + ("norm" in name.lower() and "weight" in name))
    return peer.eval()


def read(folder: Path) -> Transformer:
    return make_transformer(ModelConfig(weights=str(folder)), WORDS, folder, seed=0).eval()


def tokens(rows: int = 5) -> Tensor:
    drawn = torch.randint(2, WORDS, (rows, 30), generator=torch.Generator().manual_seed(7))
    return drawn.masked_fill(~REAL[:rows], 1)


def states(peer: PreTrainedModel, rows: int = 5) -> Tensor:
    found: Tensor = peer(tokens(rows), attention_mask=REAL[:rows].long()).last_hidden_state
    return found


@torch.no_grad()
def test_hidden_states_of_a_text(both: tuple[PreTrainedModel, Transformer]) -> None:
    peer, ours = both
    expected = states(peer, 1)
    assert expected.abs().max() > 1
    torch.testing.assert_close(ours(tokens(1)), expected, atol=1e-4, rtol=0)


@pytest.mark.ci
@torch.no_grad()
def test_hidden_states_of_padded_texts(both: tuple[PreTrainedModel, Transformer]) -> None:
    peer, ours = both
    torch.testing.assert_close(ours(tokens(), visible=REAL)[REAL], states(peer)[REAL], atol=1e-4, rtol=0)


@pytest.mark.ci
@torch.no_grad()
def test_hidden_states_without_the_work_for_padding(both: tuple[PreTrainedModel, Transformer]) -> None:
    peer, ours = both
    places = places_to_compute(LENGTHS, 30)
    assert places is not None
    if ours.in_rows_only:
        pytest.skip("computes padding, too")
    found = hidden_states(ours, tokens(), places, REAL)
    torch.testing.assert_close(found[REAL], states(peer)[REAL], atol=1e-4, rtol=0)


@pytest.mark.ci
def test_gradients(both: tuple[PreTrainedModel, Transformer]) -> None:
    peer, ours = both
    torch.manual_seed(1)
    wanted = torch.randn(5, 30, 48)[REAL]
    for found in (states(peer), ours(tokens(), visible=REAL)):
        F.mse_loss(found[REAL], wanted).backward()
    expected = dict(peer.named_parameters())
    for name, parameter in ours.named_parameters():
        if not name.startswith("pooler"):
            own = expected[name].grad
            assert own is not None
            torch.testing.assert_close(parameter.grad, own, atol=1e-4, rtol=1e-4)


@pytest.mark.ci
@torch.no_grad()
def test_transformers_reads_what_is_saved(both: tuple[PreTrainedModel, Transformer], tmp_path: Path) -> None:
    peer, ours = both
    save_weights(Classifier(ours, 3, "cls"), tmp_path / "model.safetensors")
    again = AutoModel.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(states(again)[REAL], states(peer)[REAL], atol=1e-5, rtol=0)


@pytest.mark.ci
@torch.no_grad()
@pytest.mark.parametrize("pooling", ["cls", "first_token", "mean", None])
def test_a_classifier_pools_the_same_padded_or_not(both: tuple[PreTrainedModel, Transformer], pooling: Any) -> None:
    model = Classifier(both[1], 3, pooling).eval()
    plain, places = model(tokens(), LENGTHS), model.places(tokens(), LENGTHS)
    assert (places is None) == both[1].in_rows_only
    torch.testing.assert_close(model(tokens(), LENGTHS, places), plain, atol=1e-5, rtol=1e-5)
    rows = [row[:length].tolist() for row, length in zip(tokens(), LENGTHS.tolist(), strict=True)]
    torch.testing.assert_close(classify(model, rows, 1, batch_size=1), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.ci
@torch.no_grad()
def test_in_bf16_short_attention_is_plain_attention(both: tuple[PreTrainedModel, Transformer]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        fast = both[1](tokens(), visible=REAL)
        with without("short attention"):
            plain = both[1](tokens(), visible=REAL)
    assert torch.equal(fast, plain) == both[1].in_rows_only
    torch.testing.assert_close(fast[REAL].float(), plain[REAL].float(), atol=0.1, rtol=0.1)


@pytest.mark.ci
@torch.no_grad()
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.bfloat16, 0.3)])
def test_made_ready_to_run_often_it_says_the_same(
    both: tuple[PreTrainedModel, Transformer], dtype: torch.dtype, bound: float
) -> None:
    expected = both[1](tokens(), visible=REAL)
    found = prepared(both[1], dtype)(tokens(), visible=REAL)
    torch.testing.assert_close(found[REAL].float(), expected[REAL], atol=bound, rtol=0)


def classifiers(folder: Path) -> tuple[Any, Classifier]:
    """A BERT with a head in `transformers`, and ours."""
    peer = with_weights(BertForSequenceClassification(BertConfig(**BASE, num_labels=3)))
    peer.save_pretrained(folder)
    ours = Classifier(read(folder), 3, "cls").eval()
    with torch.no_grad():
        for own, theirs in zip(ours.head.parameters(), peer.classifier.parameters(), strict=True):
            own.copy_(theirs)
    return peer, ours


@torch.no_grad()
def test_bert_with_its_pooler_classifies_as_transformers_does(tmp_path: Path) -> None:
    peer, ours = classifiers(tmp_path)
    expected = peer(tokens(), attention_mask=REAL.long()).logits
    torch.testing.assert_close(ours(tokens(), LENGTHS), expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("targets", ["all", "attention", "feed_forward"])
def test_peft_reads_an_adapter(targets: Any, tmp_path: Path) -> None:
    peer, ours = classifiers(tmp_path)
    config = LoraConfig(rank=4, targets=targets)
    add_adapters(ours.transformer, config, seed=1)
    for name, each in ours.named_parameters():
        if "lora_b" in name:
            each.normal_(std=0.2)
    save_adapter(ours, config, str(tmp_path), tmp_path / "adapter")
    expected = ours(tokens(), LENGTHS)
    assert (expected - peer(tokens(), attention_mask=REAL.long()).logits).abs().max() > 0.1
    adapted = PeftModel.from_pretrained(peer, tmp_path / "adapter").eval()
    torch.testing.assert_close(adapted(tokens(), attention_mask=REAL.long()).logits, expected, atol=1e-4, rtol=0)
    merge_adapters(ours.transformer)
    torch.testing.assert_close(ours(tokens(), LENGTHS), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_an_adapter_of_peft_is_read(tmp_path: Path) -> None:
    peer, ours = classifiers(tmp_path)
    names = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
    adapted = get_peft_model(peer, PeftConfig(task_type="SEQ_CLS", r=4, target_modules=names)).eval()
    for name, each in adapted.named_parameters():
        if "lora_B" in name:
            each.normal_(std=0.2)
    adapted.save_pretrained(tmp_path / "adapter")
    load_adapter(ours, tmp_path / "adapter")
    expected = adapted(tokens(), attention_mask=REAL.long()).logits
    torch.testing.assert_close(ours(tokens(), LENGTHS), expected, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"use_dora": True}])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_of_all_linear_layers_of_peft_is_read(family: str, options: dict[str, bool], tmp_path: Path) -> None:
    """Also of a classifier whose head has several layers, and of those behind the blocks."""
    peer = with_weights(AutoModelForSequenceClassification.from_config(FAMILIES[family], attn_implementation="eager"))
    base = getattr(peer, peer.base_model_prefix)
    base.save_pretrained(tmp_path / "base")
    config = PeftConfig(task_type="SEQ_CLS", r=4, target_modules="all-linear", **options)
    adapted = get_peft_model(peer, config).eval()
    for name, each in adapted.named_parameters():
        if "lora_B" in name:
            each.normal_(std=0.2)
    adapted.save_pretrained(tmp_path / "adapter")
    ours = read(tmp_path / "base")
    load_adapter(ours, tmp_path / "adapter")
    torch.testing.assert_close(ours(tokens(), visible=REAL)[REAL], states(base)[REAL], atol=1e-4, rtol=0)
    pooled = base(tokens(), attention_mask=REAL.long()).get("pooler_output")
    if pooled is not None and ours.pooler is not None:
        torch.testing.assert_close(ours.pooler(ours(tokens(), visible=REAL)[:, 0]), pooled, atol=1e-4, rtol=0)
    if family in ("roberta", "xlm-r"):
        with pytest.raises(WeightsError, match=r"head of several layers \(classifier\.dense\)"):
            load_adapter(Classifier(read(tmp_path / "base"), 2), tmp_path / "adapter")


@pytest.mark.one_case
def test_names_of_earlier_years_and_a_missing_pooler(both: tuple[PreTrainedModel, Transformer], tmp_path: Path) -> None:
    peer, ours = both
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): each
        for name, each in peer.state_dict().items()
        if not name.startswith("pooler")
    }
    peer.save_pretrained(tmp_path / "old", state_dict=old)
    found = read(tmp_path / "old")
    assert torch.equal(found(tokens(1)), ours(tokens(1)))
    assert all(each.isfinite().all() for each in found.parameters())


GPT2 = GPT2Config().to_dict()
UNSAID = {name: value for name, value in DEBERTA_V3.items() if name != "position_biased_input"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "electra"}, "electra"),
        ({**DEBERTA_V3, "model_type": "deberta-v2", "conv_kernel_size": 3}, "conv_kernel_size"),
        ({**UNSAID, "model_type": "deberta-v2"}, "position_biased_input=True"),
        ({"model_type": "roberta", "pad_token_id": None}, "pad_token_id"),
        ({"hidden_act": "relu"}, "relu"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"num_attention_heads": 5}, "heads"),
        ({"is_decoder": True}, "is_decoder"),
        ({**GPT2, "activation_function": "relu"}, "weights: .*activation_function=relu .*; choose another model"),
        ({**GPT2, "layer_norm_epsilon": 1e-3}, "layer_norm_epsilon"),
        ({**GPT2, "scale_attn_weights": False}, "scale_attn_weights"),
        ({**GPT2, "scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"model_type": "modernbert", "local_attention": 8, "rope_parameters": YARN}, "yarn"),
    ],
)
def test_what_is_not_known_is_refused_by_its_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(WeightsError, match=named):
        size_from_settings({**BertConfig(**BASE).to_dict(), **change}, "weights")


@pytest.mark.one_case
def test_an_encoder_is_no_language_model(both: tuple[PreTrainedModel, Transformer]) -> None:
    with pytest.raises(ConfigError, match="is an encoder"):
        LanguageModel(both[1])


def test_kinds_of_attention_are_read_as_transformers_reads_them() -> None:
    settings = {**BertConfig(**BASE).to_dict(), **DEBERTA_V3, "model_type": "deberta-v2"}
    found = size_from_settings({**settings, "pos_att_type": "P2C | c2p"}, "weights")
    assert found == size_from_settings(settings, "weights")


def test_an_encoder_whose_config_leaves_out_local_rotary_positions_has_those_of_transformers() -> None:
    left_out = size_from_settings({"model_type": "modernbert", **BASE}, "weights")
    assert left_out.local_rope_base == size_from_settings(ModernBertConfig(**BASE).to_dict(), "weights").local_rope_base
