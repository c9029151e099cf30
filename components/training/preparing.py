"""What every training does before its first step, whatever it learns."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from components.core.errors import ConfigError
from components.core.records import Facts
from components.models.fast import fast_paths
from components.models.memory import freed_memory_kept
from components.models.tokenizer import VOCABULARY_FILE, Tokenizer, read_tokenizer
from components.training.config import Recipe


def check_vocabulary(weights: Path | None, encoding: Tokenizer) -> None:
    """Refuse an earlier model whose token ids stand for other texts; its weights would load all the same."""
    if weights is None or not (weights / VOCABULARY_FILE).exists():
        return
    if getattr(read_tokenizer(weights), "_mergeable_ranks", None) != getattr(encoding, "_mergeable_ranks", None):
        raise ConfigError(
            "model.weights was trained with another vocabulary than model.vocabulary; set the one of its run"
        )


def longest_allowed(config: Recipe, context: int) -> int:
    """Return how many tokens a row may have.

    Raises:
        ConfigError: if a length that is asked for exceeds the context.
    """
    if wrong := config.too_long(context):
        raise ConfigError(wrong)
    return config.max_length or context


def count_parameters(model: nn.Module) -> Facts:
    """Return how many parameters there are, and how many of them train."""

    def count(tensors: Iterable[Tensor]) -> int:
        return sum(tensor.numel() for tensor in tensors)

    trained = (tensor for tensor in model.parameters() if tensor.requires_grad)
    return {"parameters": count(model.parameters()), "trained_parameters": count(trained)}


@contextmanager
def prepared(config: Recipe) -> Iterator[None]:
    """Seed dropout, set threads and fast paths, keep freed memory at hand, and leave all as it was."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(), fast_paths(config.fast), freed_memory_kept():
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)
