"""Memory that ran out is one line that says which key to lower, whichever library notices it."""

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from components.core.errors import JudgeError, OutOfMemory
from components.core.room import is_out_of_memory, out_of_memory_as_a_line
from components.core.steps import Step
from components.tasks import classification, instruction, shared
from pipelines.cli.console import errors_as_lines

HUGE = 1 << 50
CUDA = "CUDA out of memory. Tried to allocate 2.34 GiB. GPU 0 has a total capacity of 39.39 GiB"


def on_a_cpu() -> None:
    torch.empty(HUGE)


def on_a_gpu() -> None:
    raise torch.OutOfMemoryError(CUDA)


def in_numpy() -> None:
    np.ones(HUGE)


def in_python() -> None:
    bytearray(HUGE)


def in_arrow() -> None:
    raise pa.ArrowMemoryError("malloc of size 1125899906842624 failed")


def in_the_system() -> None:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def in_another_thread() -> None:
    try:
        on_a_cpu()
    except RuntimeError as error:
        raise ValueError("a batch failed") from error


def keep_evidence(ask: Callable[[], None], folder: Path) -> None:
    try:
        ask()
    except Exception as error:
        error.evidence = folder  # type: ignore[attr-defined]
        raise


@pytest.mark.parametrize(
    ("ask", "asked"),
    [
        (on_a_cpu, "4503599627370496 bytes"),
        (on_a_gpu, "2.34 GiB"),
        (in_numpy, "8.00 PiB"),
        (in_python, None),
        (in_arrow, None),
        (in_the_system, None),
        (in_another_thread, "4503599627370496 bytes"),
    ],
)
def test_it_is_known_however_it_is_said(ask: Callable[[], None], asked: str | None, tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory) as caught, out_of_memory_as_a_line("fine_tune", "lower train.batch_size"):
        keep_evidence(ask, tmp_path)
    said = f" (it asked for another {asked})" if asked else ""
    assert str(caught.value) == f"fine_tune: out of memory{said}: lower train.batch_size"
    assert caught.value.evidence == tmp_path
    assert pickle.loads(pickle.dumps(caught.value)).evidence == tmp_path, "Prefect keeps it"


@pytest.mark.parametrize(
    "error", [ValueError("row 3: allocate"), JudgeError("the server answered 500: CUDA out of memory"), OSError("x")]
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), out_of_memory_as_a_line("judge", "lower it"):
        raise error


@pytest.mark.parametrize(
    ("step", "keys"),
    [
        (classification.fine_tune, ["train.batch_size", "train.accumulate", "train.max_length", "train.trainable"]),
        (instruction.fine_tune, ["train.batch_size", "train.gradient_checkpointing"]),
        (classification.read_frozen, ["train.max_length"]),
        (classification.evaluate, ["train.max_length", "source.limit"]),
        (instruction.respond, ["generation.batch_size", "generation.max_new_tokens"]),
        (instruction.respond_before, ["generation.batch_size"]),
        (instruction.answer_validation, ["generation.batch_size"]),
        (shared.fetch_weights, ["model.weights"]),
        (classification.split, ["source.limit"]),
    ],
)
def test_each_step_says_which_keys_to_lower(step: Step[...], keys: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_out: Path, **_arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(step, "_write", fails)
    with pytest.raises(OutOfMemory, match=f"^{step.name}: out of memory: ") as caught:
        step._produce("0" * 32, {})
    assert [key for key in keys if key not in str(caught.value)] == []


def test_outside_of_a_step_it_is_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="1"), errors_as_lines(False):
        on_a_cpu()
    assert capsys.readouterr().err.strip().startswith("gradus: out of memory (it asked for another 4503599627370496 b")
