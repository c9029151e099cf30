"""What the tests of tracking share: one store, as creating its tables takes seconds, and one tiny classifier."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a local MLflow store in it; its name has a blank on purpose."""
    return tmp_path_factory.mktemp("a home")


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a classifier with a byte vocabulary and random weights."""
    import tiktoken

    from components.model.classifier import Classifier
    from components.model.config import GPTSize
    from components.model.gpt import Transformer
    from components.model.saved import save_classifier

    folder = tmp_path_factory.mktemp("trained") / "model"
    folder.mkdir()
    ranks = {bytes([index]): index for index in range(256)}
    special = {"<|endoftext|>": 256}
    encoding = tiktoken.Encoding("bytes", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens=special)
    transformer = Transformer(GPTSize(layers=1, heads=2, width=16, context=32), 257)
    transformer.initialise(seed=0)
    model = Classifier(transformer, 2)
    save_classifier(folder, model, encoding, ["ham", "spam"], max_length=32)
    return folder
