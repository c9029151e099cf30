"""Hidden states without padding, against the network that computes all positions."""

import pytest
import torch

from components.models.classifier import Classifier
from components.models.config import GPTSize
from components.models.fast.unpadded import MULTIPLE, hidden_states, places_to_compute
from components.models.gpt2 import GPT2

SIZE = GPTSize(layers=2, heads=2, width=32, context=96)
LENGTHS = torch.tensor([3, 70, 1, 33, 96, 12, 5, 64])
PLACES = places_to_compute(LENGTHS, 96)


@pytest.fixture
def transformer() -> GPT2:
    made = GPT2(SIZE, vocab_size=50)
    made.initialise(1)
    return made.eval()


def some_tokens() -> torch.Tensor:
    return torch.randint(50, (len(LENGTHS), 96), generator=torch.Generator().manual_seed(2))


def test_real_positions_have_the_states_of_the_whole_network(transformer: GPT2) -> None:
    tokens = some_tokens()
    whole, unpadded = transformer(tokens), hidden_states(transformer, tokens, PLACES)
    real = torch.arange(96) < LENGTHS[:, None]
    torch.testing.assert_close(unpadded[real], whole[real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_are_the_same(transformer: GPT2, recompute: bool) -> None:
    tokens, rows = some_tokens(), torch.arange(len(LENGTHS))
    transformer.recompute = recompute
    gradients = []
    for states in (transformer(tokens), hidden_states(transformer, tokens, PLACES)):
        transformer.zero_grad()
        states[rows, LENGTHS - 1].square().sum().backward()
        gradients.append({name: each.grad for name, each in transformer.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=0, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    "lengths", [LENGTHS, torch.tensor([1, 96, 2]), torch.tensor([32, 1]), torch.tensor([64, 1, 1])]
)
def test_what_is_read_is_what_is_real_and_a_round_number(lengths: torch.Tensor) -> None:
    places = places_to_compute(lengths, 96).tolist()
    real = [row * 96 + column for row, length in enumerate(lengths.tolist()) for column in range(length)]
    assert set(real) <= set(places)
    assert places == sorted(set(places))
    assert len(places) % MULTIPLE == 0
    assert len(places) - len(real) < MULTIPLE


def test_little_padding_is_left_alone() -> None:
    assert places_to_compute(torch.tensor([90, 96]), 96) is None
    assert places_to_compute(torch.tensor([1]), 1) is None


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pooling", ["last_token", "first_token", "mean"])
def test_a_classifier_says_the_same_with_and_without_padding(transformer: GPT2, pooling, causal: bool) -> None:
    classifier, tokens = Classifier(transformer, 3, pooling, seed=1, causal=causal).eval(), some_tokens()
    assert classifier.places(tokens, LENGTHS) is not None
    unpadded = classifier(tokens, LENGTHS, classifier.places(tokens, LENGTHS))
    torch.testing.assert_close(unpadded, classifier(tokens, LENGTHS), rtol=0, atol=1e-5)


def test_a_classifier_that_reads_padding_skips_none(transformer: GPT2) -> None:
    for pooling in ("last_position", "mean_positions"):
        assert Classifier(transformer, 3, pooling).places(some_tokens(), LENGTHS) is None
