"""The fast ways through a network of which only the end trains, against the plain network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from components.models.classifier import Classifier
from components.models.config import PADDING_IS_READ, GPTSize, frozen_blocks
from components.models.devices import autocast
from components.models.fast.states import States, by_length, create_states, open_states
from components.models.fast.tail import classify_states, finish
from components.models.fast.trunk import Trunk
from components.models.gpt2 import GPT2
from components.models.padding import pad

CPU = torch.device("cpu")
SIZE = GPTSize(layers=3, heads=4, width=32, context=24)
ROWS = [[5, 3, 9], [7], [1, 2, 3, 4, 5, 6, 7], [8, 8, 1, 40, 2]]


def network(pooling: str = "last_token", causal: bool = True, size: GPTSize = SIZE) -> Classifier:
    """One whose norms and biases are not those of a network that has learnt nothing."""
    model = Classifier(GPT2(size, 50), 3, pooling, seed=1, causal=causal)
    model.transformer.initialise(seed=1)
    noise = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=noise), alpha=0.1)
    return model.eval()


def read(model: Classifier, tokens: Tensor, lengths: Tensor, blocks: int, precision: str = "fp32") -> States:
    """The states of all rows; where padding is read the rows are as long as they were padded."""
    if model.pooling in PADDING_IS_READ:
        lengths = torch.full_like(lengths, tokens.shape[1])
    copy = network(model.pooling, model.causal, model.transformer.size)
    values = Trunk(copy.transformer, blocks, CPU, precision)(tokens, lengths, model.causal)
    flat = torch.cat([value[:length] for value, length in zip(values, lengths, strict=True)])
    return States(flat, np.concatenate([[0], lengths.cumsum(0).numpy()]), blocks)


@pytest.mark.ci
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pooling", ["last_token", "first_token", "mean", "last_position", "mean_positions"])
@pytest.mark.parametrize("trainable", ["last_layer", "last_block", "last_two_blocks"])
def test_logits_and_gradients_are_those_of_the_whole_network(trainable: str, pooling: str, causal: bool) -> None:
    model = network(pooling, causal)
    tokens, lengths = pad(ROWS, 0, 9 if pooling in PADDING_IS_READ else None)
    blocks = frozen_blocks(trainable, SIZE.layers)
    states = read(model, tokens, lengths, blocks)
    weight = torch.arange(12.0).view(4, 3).cos()

    expected = model(tokens, lengths)
    gradients = gradients_of(model, (expected * weight).sum(), blocks)
    logits = finish(model, *states.batch(range(4)), blocks)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    found = gradients_of(model, (logits * weight).sum(), blocks)
    assert found.keys() == gradients.keys() != set()
    for name, gradient in gradients.items():
        if name.endswith("c_attn.bias"):  # that of the keys is 0 in theory, and noise in practice
            width = SIZE.width
            gradient[width : 2 * width] = found[name][width : 2 * width] = 0.0
        torch.testing.assert_close(found[name], gradient, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(classify_states(model, states, range(1, 4)), expected[1:], atol=1e-4, rtol=0)


def gradients_of(model: Classifier, loss: Tensor, blocks: int) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    later = [f"transformer.h.{layer}." for layer in range(blocks, SIZE.layers)]
    trained = ("head.", *later, *(["transformer.ln_f."] if later else []))
    return {name: each.grad.clone() for name, each in model.named_parameters() if name.startswith(trained)}


@pytest.mark.parametrize("pooling", ["last_token", "mean"])
def test_in_bf16_it_is_near_the_plain_network_in_fp32(pooling: str) -> None:
    model = network(pooling)
    tokens, lengths = pad(ROWS, 0)
    states = read(model, tokens, lengths, 2, "bf16")
    kept = States(states.values.bfloat16(), states.offsets, 2)
    with autocast(CPU, "bf16"):
        logits = finish(model, *kept.batch(range(4)), 2).float()
    expected = torch.softmax(model(tokens, lengths), dim=1)
    torch.testing.assert_close(torch.softmax(logits, dim=1), expected, atol=0.02, rtol=0)
    torch.testing.assert_close(torch.softmax(classify_states(model, kept, range(4)), 1), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_states_in_a_file_are_what_was_put_in(tmp_path: Path, precision: str) -> None:
    lengths = np.array([3, 1, 4])
    made = create_states(tmp_path / "states.safetensors", lengths, 6, precision, blocks=2)
    values = torch.randn(8, 6).to(made.values.dtype)
    made.row(0).copy_(values[:3])
    made.row(1).copy_(values[3:4])
    made.row(2).copy_(values[4:])
    found = open_states(tmp_path / "states.safetensors")
    assert (len(found), found.blocks, found.lengths.tolist()) == (3, 2, [3, 1, 4])
    assert torch.equal(found.values, values)
    batch, true = found.batch([2, 1])
    assert (batch.shape, true.tolist()) == ((2, 32, 6), [4, 1])
    assert torch.equal(batch[0, :4], values[4:])
    assert not batch[0, 4:].any()
    assert not batch[1, 1:].any()


def test_batches_hold_texts_of_like_length_and_not_too_much() -> None:
    lengths = np.array([9, 1, 30, 2, 8, 2])
    batches = list(by_length(lengths, most=18))
    assert batches == [[1, 3, 5], [4, 0], [2]]


def test_states_for_a_rehearsal_take_no_memory() -> None:
    blank = States.blank(np.array([10_000_000, 3]), 768, "bf16", 11)
    assert blank.values.untyped_storage().nbytes() == 2
    assert blank.batch([1])[0].shape == (1, 32, 768)


@pytest.mark.parametrize(
    ("trainable", "layers", "blocks"),
    [("last_layer", 3, 3), ("last_block", 3, 2), ("last_two_blocks", 2, 0), ("all", 3, 0), ("lora", 3, 0)],
)
def test_blocks_before_all_that_trains(trainable: str, layers: int, blocks: int) -> None:
    assert frozen_blocks(trainable, layers) == blocks
