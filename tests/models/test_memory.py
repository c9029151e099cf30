"""Memory that is freed, seen from the process that the system accounts it to."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from torch.nn.functional import cross_entropy

from components.models.config import GPTSize
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel
from components.models.memory import freed_memory_kept
from components.models.processor import multiplies_bf16
from components.models.weights import save_weights

ROOT = Path(__file__).parents[2]

LARGE = 256 << 20


def held() -> int:
    """Return the bytes of this process, wherever the system has put them; `rss` shrinks where memory is short."""
    found = psutil.Process().memory_full_info()
    return int(found.uss + found.swap)


def printed(code: str, *arguments: str, **said: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | said, capture_output=True, text=True, check=True).stdout


def use_and_free(size: int = LARGE) -> None:
    torch.ones(size // 4)


@pytest.mark.ci
@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
def test_memory_is_kept_until_the_outermost_context_ends() -> None:
    """In a process of its own: above what other tests left in the heap, a hole stays that is filled again."""
    kept = printed("from tests.models.test_memory import kept_in_contexts; print(*kept_in_contexts())")
    assert [int(grown) > LARGE / 2 for grown in kept.split()] == [True, True, False, False]


def kept_in_contexts() -> Iterator[int]:
    """Yield by how many bytes this process has grown: after an inner and in an outer context, and twice outside."""
    use_and_free()
    before = held()
    with freed_memory_kept():
        with freed_memory_kept():
            use_and_free()
        yield held() - before
        use_and_free()
        yield held() - before
    yield held() - before
    use_and_free(3 * LARGE)  # which fits into no hole that the two have left in the heap
    yield held() - before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is glibc's")
@pytest.mark.skipif(not multiplies_bf16(), reason="in fp32, which is trained in here, little is gained: decision 0006")
def test_a_training_takes_less_memory_without_thread_caches() -> None:
    code = "from tests.models.test_memory import peak_of_a_training; print(peak_of_a_training())"
    without, with_them = (int(printed(code, GLIBC_TUNABLES=f"glibc.malloc.tcache_count={count}")) for count in (0, 7))
    assert without < 0.9 * with_them


def peak_of_a_training() -> int:
    """Take 30 steps with rows of other lengths each time; return the most memory that was resident, in bytes."""
    torch.set_num_threads(1)
    gpt = LanguageModel(GPT2(GPTSize(layers=4, width=16, heads=2, context=256), 30_000))
    gpt.transformer.initialise(1)
    optimiser = torch.optim.AdamW(gpt.parameters(), fused=True)
    lengths = random.Random(1)
    with freed_memory_kept():
        for _ in range(30):
            tokens = torch.randint(30_000, (4, lengths.randint(20, 120)))
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                logits = gpt(tokens).float()
            cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


LOAD = """
import sys
from pathlib import Path
from components.models.config import GPTSize
from components.models.gpt2 import GPT2
from components.models.weights import load_weights
def most(): return 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
model = GPT2(GPTSize(layers=6, heads=8, width=1024, context=64), 100)
before = most()
load_weights(model, Path(sys.argv[1]))
print((most() - before) / sum(parameter.nbytes for parameter in model.parameters()))
"""


@pytest.mark.ci
@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_weights_that_are_loaded_are_in_memory_once(tmp_path: Path) -> None:
    model = GPT2(GPTSize(layers=6, heads=8, width=1024, context=64), 100)
    model.initialise(1)
    save_weights(model, tmp_path / "model.safetensors")
    # The network's own memory is taken when it is filled, and some of the file's is there beside it.
    assert 0.9 < float(printed(LOAD, str(tmp_path))) < 1.5
