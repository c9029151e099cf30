"""Low-rank adapters: they begin as nothing, and merged they are what they were."""

import copy

import pytest
import torch

from components.models.classifier import Classifier
from components.models.config import GPTSize, LoraConfig
from components.models.gpt2 import GPT2
from components.models.lora import LoraLinear, add_adapters, is_adapter, merge_adapters
from components.models.trainable import set_trainable

TINY = GPTSize(layers=3, heads=4, width=32, context=24)
TOKENS, LENGTHS = torch.arange(40).reshape(2, 20) % 50, torch.tensor([20, 13])


def tuned(config: LoraConfig) -> tuple[Classifier, Classifier]:
    """A classifier without adapters, and the same with adapters that have learned something."""
    transformer = GPT2(TINY, 50)
    transformer.initialise(0)
    plain = Classifier(transformer, 3).eval()
    adapted = copy.deepcopy(plain)
    add_adapters(adapted.transformer, config, seed=1)
    torch.testing.assert_close(adapted(TOKENS, LENGTHS), plain(TOKENS, LENGTHS), atol=0, rtol=0)
    set_trainable(adapted, "lora")
    optimiser = torch.optim.AdamW([tensor for tensor in adapted.parameters() if tensor.requires_grad], lr=1e-2)
    for _ in range(4):
        torch.nn.functional.cross_entropy(adapted(TOKENS, LENGTHS), torch.tensor([1, 2])).backward()
        optimiser.step()
    return plain, adapted.eval()


@pytest.mark.parametrize("config", [LoraConfig(), LoraConfig(rank=3, alpha=48, targets=["mlp.c_fc"], dropout=0.3)])
def test_a_merged_model_says_what_the_adapted_one_says(config: LoraConfig) -> None:
    plain, adapted = tuned(config)
    expected = adapted(TOKENS, LENGTHS)
    assert (expected - plain(TOKENS, LENGTHS)).abs().max() > 0.01
    merge_adapters(adapted.transformer)
    assert (adapted(TOKENS, LENGTHS) - expected).abs().max() < 1e-4
    assert [name for name, _ in adapted.named_parameters()] == [name for name, _ in plain.named_parameters()]


def test_only_adapters_and_head_change() -> None:
    plain, adapted = tuned(LoraConfig())
    before = dict(plain.named_parameters())
    for name, tensor in adapted.named_parameters():
        frozen = not (is_adapter(name) or name.startswith("head."))
        assert tensor.requires_grad != frozen
        assert frozen == (name in before and torch.equal(tensor, before[name]))


@pytest.mark.parametrize("dora", [False, True])
def test_without_a_change_yet_the_layer_reads_all_of_its_input_whatever_is_dropped(dora: bool) -> None:
    base, x = torch.nn.Linear(12, 8), torch.randn(40, 12)
    layer = LoraLinear(base, LoraConfig(rank=4, dropout=0.5, dora=dora), 0, "layer").train()
    torch.testing.assert_close(layer(x), base(x))


@pytest.mark.parametrize("dora", [False, True])
def test_dropout_acts_on_the_adapters_input_while_training_only(dora: bool) -> None:
    _, adapted = tuned(LoraConfig(dropout=0.5, dora=dora))
    still = [adapted(TOKENS, LENGTHS) for _ in range(2)]
    assert torch.equal(*still)
    adapted.train()
    assert not torch.equal(adapted(TOKENS, LENGTHS), adapted(TOKENS, LENGTHS))


def test_an_adapter_depends_on_its_seed_and_place_alone() -> None:
    drawn = []
    for seed in (1, 1, 2):
        transformer = GPT2(TINY, 50)
        transformer.initialise(0)
        add_adapters(transformer, LoraConfig(), seed)
        drawn.append(dict(transformer.named_parameters()))
    name = "h.0.attn.c_attn.lora_a"
    assert torch.equal(drawn[0][name], drawn[1][name])
    assert not torch.equal(drawn[0][name], drawn[2][name])
    assert not torch.equal(drawn[0][name], drawn[0]["h.1.attn.c_attn.lora_a"])
