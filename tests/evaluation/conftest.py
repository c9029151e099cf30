"""What the tests of evaluation share: tiny classifiers with random weights."""

from collections.abc import Callable
from pathlib import Path

import pytest

MakeModel = Callable[[list[str]], Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """A function from labels to the folder of a classifier with a byte vocabulary that reads 16 tokens."""
    from components.models.classifier import Classifier
    from components.models.config import GPTSize
    from components.models.gpt2 import GPT2
    from components.models.saved.classifier import save_classifier
    from tests.byte_tokenizer import VOCABULARY, byte_tokenizer

    def make(labels: list[str]) -> Path:
        folder = tmp_path / "model"
        folder.mkdir()
        transformer = GPT2(GPTSize(layers=1, heads=2, width=16, context=32), VOCABULARY)
        transformer.initialise(seed=0)
        save_classifier(folder, Classifier(transformer, len(labels)), byte_tokenizer(), labels, max_length=16)
        return folder

    return make
