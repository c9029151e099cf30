"""How far the logits of an export may be from the original's."""

import pytest
import torch
from torch import Tensor

from components.core.errors import ExportFailed
from components.models.export.parity import Peer, check_parity, logits_of
from components.models.saved.language_model import LoadedGPT
from tests.models.export.small import DECODERS, language_model


@pytest.fixture
def original() -> LoadedGPT:
    return language_model(DECODERS["llama"])


def apart(original: LoadedGPT, by: float) -> Peer:
    """Return what gives the same logits, one of them `by` more."""

    def logits(tokens: list[int]) -> Tensor:
        found = logits_of(original, tokens).clone()
        found[0, 0] += by
        return found

    return Peer("a peer", logits)


def largest(original: LoadedGPT) -> float:
    return float(logits_of(original, list(range(100))).abs().max())


@pytest.mark.ci
def test_a_difference_of_more_than_rounding_is_no_export(original: LoadedGPT) -> None:
    assert largest(original) < 10
    assert check_parity(original, apart(original, 5e-5), "hf").difference == pytest.approx(5e-5, rel=0.1)
    with pytest.raises(ExportFailed, match=r"differ.* by 0\.0005"):
        check_parity(original, apart(original, 5e-4), "hf")


def test_large_logits_may_differ_by_more_as_they_round_by_more(original: LoadedGPT) -> None:
    with torch.no_grad():
        original.model.head.mul_(100 / largest(original))
    check_parity(original, apart(original, 5e-4), "adapter")
    with pytest.raises(ExportFailed, match="differ"):
        check_parity(original, apart(original, 5e-3), "adapter")
