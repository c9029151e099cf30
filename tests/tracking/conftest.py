"""What the tests of tracking share: one store, as creating its tables takes seconds."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a local MLflow store in it; its name has a blank on purpose."""
    return tmp_path_factory.mktemp("a home")


@pytest.fixture(scope="session")
def saved_gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a language model with a byte vocabulary and random weights."""
    import tiktoken

    from components.models.config import GPTSize
    from components.models.gpt2 import GPT2
    from components.models.language_model import LanguageModel
    from components.models.saved_gpt import save_gpt
    from components.prompts import TEMPLATES

    folder = tmp_path_factory.mktemp("language model") / "model"
    folder.mkdir()
    ranks = {bytes([index]): index for index in range(256)}
    special = {"<|endoftext|>": 256}
    encoding = tiktoken.Encoding("bytes", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens=special)
    model = LanguageModel(GPT2(GPTSize(layers=1, heads=2, width=16, context=256), 257))
    model.initialise(seed=0)
    save_gpt(folder, model, encoding, TEMPLATES["alpaca"])
    return folder
