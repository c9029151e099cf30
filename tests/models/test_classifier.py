from typing import get_args

import pytest
import torch

from components.core.errors import ConfigError
from components.models.classifier import Classifier, classify
from components.models.config import PADDING_IS_READ, GPTSize, Pooling, Trainable
from components.models.fast.prepared import prepared
from components.models.gpt2 import GPT2
from components.models.padding import pad
from components.models.trainable import set_trainable
from tests.tutorial import tutorial_classifier

TINY = GPTSize(layers=3, heads=4, width=32, context=24)
VOCABULARY, PAD = 101, 100
ROWS = [[5, 6, 7], [1], [], [9, 8, 7, 6, 5, 4], [3, 3], [2, 4, 6, 8], [50] * 20]


def tiny(pooling: Pooling = "last_token", classes: int = 3, layers: int = 3, causal: bool = True) -> Classifier:
    transformer = GPT2(TINY.model_copy(update={"layers": layers}), VOCABULARY)
    transformer.initialise(1)
    return Classifier(transformer, classes, pooling, seed=2, causal=causal)


def test_the_head_depends_on_its_seed_alone() -> None:
    transformer = GPT2(TINY, VOCABULARY)
    heads = [Classifier(transformer, 2, seed=seed).head for seed in (4, 4, 5)]
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert not torch.equal(heads[0].weight, heads[2].weight)
    assert not heads[0].bias.any()


def test_a_classifier_has_no_language_model_head() -> None:
    count = sum(parameter.numel() for parameter in tiny().parameters())
    assert count == sum(parameter.numel() for parameter in tiny().transformer.parameters()) + 3 * 32 + 3


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_the_head_reads_what_is_pooled(pooling: Pooling) -> None:
    model = tiny(pooling).eval()
    tokens, lengths = pad(ROWS, PAD)
    pooled = []
    for states, length in zip(model.transformer(tokens), lengths.tolist(), strict=True):
        wanted = {
            "last_token": states[length - 1],
            "first_token": states[0],
            "cls": states[0],
            "mean": states[:length].mean(dim=0),
            "last_position": states[19],
            "mean_positions": states.mean(dim=0),
        }
        pooled.append(wanted[pooling])
    torch.testing.assert_close(model(tokens, lengths), model.head(torch.stack(pooled)))


@pytest.mark.ci
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_padding_matters_only_to_the_poolings_that_read_it(pooling: Pooling, causal: bool) -> None:
    model = tiny(pooling, causal=causal).eval()
    short, long = model(*pad(ROWS, PAD, 20)), model(*pad(ROWS, PAD, 24))
    assert torch.allclose(short, long, atol=1e-6) == (pooling not in PADDING_IS_READ)


def test_without_the_causal_mask_the_first_token_sees_the_last() -> None:
    for causal in (True, False):
        model = tiny("first_token", causal=causal).eval()
        one, other = (model(*pad([[5, 6, last]], PAD)) for last in (7, 8))
        assert torch.equal(one, other) == causal


@pytest.mark.parametrize("pooling", ["last_position", "mean_positions"])
def test_open_attention_is_the_tutorials_with_its_mask_taken_away(pooling: Pooling) -> None:
    model = tiny(pooling, causal=False).eval()
    tutorial = tutorial_classifier(model)
    for block in tutorial.trf_blocks:
        block.att.mask.zero_()
    tokens, lengths = pad(ROWS, PAD)
    expected = tutorial(tokens)
    expected = expected[:, -1] if pooling == "last_position" else expected.mean(dim=1)
    assert (model(tokens, lengths) - expected).abs().max() < 1e-4


@pytest.mark.ci
@pytest.mark.parametrize("pooling", get_args(Pooling))
@pytest.mark.parametrize("length", [None, 24])
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_batches_give_what_single_texts_give_in_the_same_order(
    pooling: Pooling, length: int | None, batch_size: int
) -> None:
    model = tiny(pooling)
    together = classify(model, ROWS, PAD, length, batch_size)
    alone = [model.eval()(*pad([row], PAD, length)) for row in ROWS]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.ci
@pytest.mark.parametrize("pooling", get_args(Pooling))
@pytest.mark.parametrize("causal", [True, False])
def test_prepacked_layers_give_the_same_logits(pooling: Pooling, causal: bool) -> None:
    model = tiny(pooling, causal=causal).eval()
    expected = classify(model, ROWS, PAD, length=22)
    model.transformer = prepared(model.transformer, torch.float32, take=True, fuse=False)
    torch.testing.assert_close(classify(model, ROWS, PAD, length=22), expected, atol=1e-5, rtol=0)
    assert not [layer for layer in model.transformer.modules() if isinstance(layer, torch.nn.Linear)]


def test_classifying_nothing_gives_no_rows() -> None:
    assert classify(tiny(), [], PAD).shape == (0, 3)


@pytest.mark.parametrize("training", [True, False])
def test_classifying_leaves_the_model_as_it_was_and_without_gradient(training: bool) -> None:
    model = tiny().train(training)
    assert not classify(model, ROWS, PAD).requires_grad
    assert model.training == training
    with pytest.raises(ConfigError, match="25 tokens do not fit a context of 24"):
        classify(model, [[1] * 25], PAD)
    assert model.training == training


@pytest.mark.parametrize(
    ("trainable", "expected"),
    [
        ("last_layer", {"head."}),
        ("last_block", {"transformer.h.2.", "transformer.ln_f.", "head."}),
        ("last_two_blocks", {"transformer.h.1.", "transformer.h.2.", "transformer.ln_f.", "head."}),
        ("all", {"transformer.", "head."}),
    ],
)
def test_exactly_the_named_parameters_train(trainable: Trainable, expected: set[str]) -> None:
    model = tiny()
    set_trainable(model, "all" if trainable == "last_layer" else "last_layer")  # what was set before does not matter
    set_trainable(model, trainable)
    found = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert found == {name for name, _ in model.named_parameters() if name.startswith(tuple(expected))}


def test_frozen_parameters_get_no_gradient_and_the_others_do() -> None:
    model = tiny()
    set_trainable(model, "last_block")
    model(*pad(ROWS, PAD)).sum().backward()
    for parameter in model.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad


def test_one_block_is_enough_for_last_two_blocks() -> None:
    model = tiny(layers=1)
    set_trainable(model, "last_two_blocks")
    assert model.transformer.get_parameter("h.0.attn.c_attn.weight").requires_grad
    assert not model.transformer.wte.weight.requires_grad
