"""Compiled blocks, against the plain ones, by the compiler itself; and when a training has them compiled."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch._dynamo.utils import counters

from components.models.config import GPTSize
from components.models.fast import compiled
from components.models.fast.compiled import ENOUGH_TOKENS, compile_blocks
from components.models.gpt2 import GPT2
from tests.training import instructing, tuning

SIZE = GPTSize(layers=2, heads=2, width=32, context=64)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def network() -> GPT2:
    made = GPT2(SIZE, vocab_size=50)
    made.initialise(1)
    return made


@pytest.fixture
def gpu_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What compiling for a GPU needs to find: the package `triton`, in name only, and a program `cc`."""
    (tmp_path / "cc").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiled, "find_spec", {"triton": "found"}.get)
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize(
    ("wish", "device", "tokens", "expected"),
    [
        ("auto", CUDA, ENOUGH_TOKENS, True),
        ("auto", CUDA, ENOUGH_TOKENS - 1, False),
        ("auto", CPU, ENOUGH_TOKENS, False),
        ("never", CUDA, ENOUGH_TOKENS, False),
        ("always", CPU, 1, True),
    ],
)
@pytest.mark.usefixtures("gpu_tools")
def test_blocks_are_compiled_where_it_is_worth_it(wish: str, device: torch.device, tokens: int, expected: bool) -> None:
    made = network()
    assert compile_blocks(made, wish, device, tokens) is expected
    assert all((block._compiled_call_impl is not None) is expected for block in made.h)


@pytest.mark.parametrize("missing", ["cc", "triton"])
def test_without_what_it_needs_a_gpu_does_without(
    missing: str, gpu_tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "cc":
        (gpu_tools / "cc").unlink()
    else:
        monkeypatch.setattr(compiled, "find_spec", {}.get)
    assert not compile_blocks(network(), "auto", CUDA, ENOUGH_TOKENS)


@pytest.fixture
def compiler_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    torch._dynamo.reset()
    counters.clear()


@pytest.mark.slow
@pytest.mark.usefixtures("compiler_cache")
def test_one_program_gives_what_the_blocks_give_for_every_length() -> None:
    plain, fast = network(), network()
    compile_blocks(fast, "always", CPU, 1)
    for length in (7, 64, 20):
        tokens = torch.randint(50, (3, length), generator=torch.Generator().manual_seed(length))
        for each in (plain, fast):
            each.zero_grad()
            each(tokens).square().sum().backward()
        torch.testing.assert_close(fast(tokens), plain(tokens), rtol=0, atol=1e-4)
        for (name, one), other in zip(fast.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4, msg=name)
    assert counters["stats"]["unique_graphs"] == 1
    assert fast.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.slow
@pytest.mark.usefixtures("compiler_cache")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_language_model_learns_the_same_compiled(tmp_path: Path, checkpointing: bool) -> None:
    model = instructing.MODEL.model_copy(update={"dropout": 0.0})
    losses = {}
    for wish in ("never", "always"):
        options = {"compile": wish, "max_steps": 12, "gradient_checkpointing": checkpointing}
        facts = instructing.instruct(tmp_path, wish, model=model, **options)
        assert facts["compiled"] is (wish == "always")
        losses[wish] = pd.read_parquet(tmp_path / wish / "steps.parquet")["loss"].to_numpy()
    assert losses["always"] == pytest.approx(losses["never"], abs=1e-4)
    assert counters["stats"]["unique_graphs"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("compiler_cache")
def test_a_classifier_learns_the_same_compiled(tmp_path: Path) -> None:
    model = tuning.MODEL.model_copy(update={"dropout": 0.0})
    losses = {}
    for wish in ("never", "always"):
        facts = tuning.tune(tmp_path, wish, model=model, compile=wish, max_steps=12)
        assert facts["compiled"] is (wish == "always")
        losses[wish] = pd.read_parquet(tmp_path / wish / "steps.parquet")["loss"].to_numpy()
    assert losses["always"] == pytest.approx(losses["never"], abs=1e-4)
    assert counters["stats"]["unique_graphs"] > 0
