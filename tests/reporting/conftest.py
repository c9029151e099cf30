"""What the tests of reporting share: the steps of one run of each kind, and one without tasks or a judge."""

from pathlib import Path

import pytest

from tests.reporting.classifications import Steps, classification_manifests
from tests.reporting.instructions import LEXICAL, instruction_manifests


@pytest.fixture(scope="session")
def classified(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """A classification run."""
    return classification_manifests(tmp_path_factory.mktemp("classified"), saved_model)


@pytest.fixture(scope="session")
def instructed(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """An instruction run with tasks, judged by a language model that was unreadable once."""
    return instruction_manifests(tmp_path_factory.mktemp("instructed"))


@pytest.fixture(scope="session")
def lexical(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """An instruction run without tasks, judged by comparing texts; the starting model was not asked."""
    return instruction_manifests(tmp_path_factory.mktemp("lexical"), LEXICAL, tasks=False, start=False)
