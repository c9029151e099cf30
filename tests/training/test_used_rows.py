"""Training with the embedding rows that are used, against training with all of them."""

from pathlib import Path

import pytest
import torch

from components.training import used_rows
from tests.training.tuning import tune, weights

DECAYING = {"schedule": "cosine", "weight_decay": 0.3, "learning_rate": 1e-2, "epochs": 3}


@pytest.fixture
def all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The weights that come of it where no row is left out."""
    with monkeypatch.context() as patched:
        patched.setattr(used_rows, "WORTHWHILE", 0.0)
        tune(tmp_path, "whole", **DECAYING)
    return weights(tmp_path, "whole")


@pytest.mark.ci
def test_the_model_is_the_same(tmp_path: Path, all_rows: dict[str, torch.Tensor]) -> None:
    facts = tune(tmp_path, **DECAYING)
    assert facts["parameters"] == sum(each.numel() for each in all_rows.values())
    for name, tensor in weights(tmp_path).items():
        torch.testing.assert_close(tensor, all_rows[name], rtol=0, atol=1e-6, msg=name)


@pytest.mark.ci
def test_rows_that_no_text_needs_have_decayed(tmp_path: Path) -> None:
    tune(tmp_path, "once", max_steps=1, weight_decay=0.3, learning_rate=0.1, keep="last")
    tune(tmp_path, "still", max_steps=1, weight_decay=0.0, learning_rate=0.1, keep="last")
    decayed, still = (weights(tmp_path, name)["transformer.wte.weight"] for name in ("once", "still"))
    only_decayed = torch.isclose(decayed, still * (1 - 0.1 * 0.3)).all(dim=1)
    assert 0.5 < only_decayed.double().mean() < 1


@pytest.mark.ci
def test_a_token_that_no_text_has_is_an_error() -> None:
    whole = used_rows.Embedding(10, 4)
    torch.nn.init.ones_(whole.weight)
    rows = used_rows.UsedRows(whole, torch.tensor([2, 5]))
    assert rows(torch.tensor([[5, 2]])).shape == (1, 2, 4)
    with pytest.raises(IndexError):
        rows(torch.tensor([3]))
