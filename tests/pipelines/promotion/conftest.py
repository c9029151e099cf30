from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.pipelines.labelled_runs import labelled_run


@pytest.fixture
def make(home: Path, saved_model: Path, name: str, tmp_path: Path) -> Callable[..., str]:
    """A function that makes a finished run whose model, registered as `name`, errs on its first `wrong` of 200 rows."""
    return partial(labelled_run, home, tmp_path, saved_model, name)
