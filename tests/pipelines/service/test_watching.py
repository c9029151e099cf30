"""What a champion is watched beside: the test rows that neither it nor a model before it has learnt from."""

from pathlib import Path

import pandas as pd
import pytest

from components.tracking.registry.lineage import log_lineage
from components.tracking.registry.packages import classifier_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import open_run
from pipelines.service.watching import Champion, watch
from tests.pipelines.labelled_runs import QUIET, ROWS, predictions

NAME = "watched"


def trained(home: Path, folder: Path, model: Path, learnt: range, weights: str = "random") -> Champion:
    """Record a version of a classifier that has learnt from some of its test rows, by their numbers."""
    tested = pd.read_parquet(predictions(folder, 0, 0, ()))["text"]
    file = predictions(folder, 0, 0, tuple(tested[list(learnt)]) or ("something else",))
    rows = pd.read_parquet(file)
    rows.assign(predicted=rows["label"], probability=0.9).to_parquet(file, index=False)
    params = {"pipeline": "classification", "model": {"weights": weights}, "tracking": {"experiment": QUIET.experiment}}
    with open_run(QUIET, home, "made", params) as run:
        log_lineage(run, weights, home)
        run.log_file(file)
        version = log_package(run, classifier_package(model, ["a"]), NAME)
    assert version
    return Champion.find(f"models:/{NAME}@candidate")


@pytest.fixture
def arrived() -> pd.DataFrame:
    return pd.DataFrame({"text": [f"row {chr(97 + number)}" for number in range(26)] * 2, "class": "ham", "value": 0.9})


@pytest.mark.parametrize(("by_ancestor", "own", "left"), [(50, 30, 120), (50, 0, 150), (0, ROWS, ROWS)])
def test_what_has_been_learnt_from_is_not_looked_at_unless_nothing_else_is_left(
    home: Path,
    saved_model: Path,
    tmp_path: Path,
    arrived: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    by_ancestor: int,
    own: int,
    left: int,
) -> None:
    monkeypatch.setenv("GRADUS_HOME", str(home))
    first = trained(home, tmp_path, saved_model, range(by_ancestor))
    champion = trained(home, tmp_path, saved_model, range(ROWS - own, ROWS), first.uri)
    found = watch(champion, arrived, "a file", 1.0, 1.0)
    assert f"beside the {left} test rows" in found.sentence
