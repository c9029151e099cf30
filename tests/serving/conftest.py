"""What tests of serving share."""

from pathlib import Path

import pytest

from tests.serving.models import save_language_model


@pytest.fixture(scope="session")
def saved_language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a saved language model."""
    return save_language_model(tmp_path_factory.mktemp("tuned") / "model")
