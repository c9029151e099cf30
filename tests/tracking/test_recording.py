import json
from pathlib import Path

import pandas as pd
import pytest

from components.core.records import sha256_of
from components.tracking.config import TrackingConfig
from components.tracking.recording import SPLITS, log_inputs, scores_table, to_plot
from components.tracking.runs import open_run

URL = "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip"


@pytest.mark.ci
def test_the_data_of_a_run_is_known_by_hash_schema_rows_and_source(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.parquet" for name in ("train", "validation", "test")}
    for rows, path in enumerate(files.values(), start=1):
        pd.DataFrame({"row": range(rows), "text": ["a"] * rows, "p": [0.5] * rows}).to_parquet(path)
    digests = {name: sha256_of(path) for name, path in files.items()}
    with open_run(TrackingConfig(system_metrics=False), tmp_path, "run", {}, {}) as run:
        log_inputs(run, files, digests, URL, "spam")
        log_inputs(run, {"extra": files["test"]}, {"extra": digests["test"]}, "sample://x.tsv", "other")
    inputs = {read.dataset.name + tags["split"]: (read.dataset, tags) for read, tags in _inputs(run)}
    train, tags = inputs["spamtrain"]
    assert train.digest == digests["train"][:8]
    assert tags == {"mlflow.data.context": "training", "sha256": digests["train"], "split": "train"}
    assert json.loads(train.source) == {"url": URL}
    columns = {column["name"]: column["type"] for column in json.loads(train.schema)["mlflow_colspec"]}
    assert columns == {"row": "long", "text": "string", "p": "double"}
    assert [json.loads(inputs[f"spam{name}"][0].profile)["num_rows"] for name in files] == [1, 2, 3]
    assert [inputs[f"spam{name}"][1]["mlflow.data.context"] for name in ("validation", "test")] == [
        "validation",
        "testing",
    ]
    assert json.loads(inputs["otherextra"][0].source) == {"uri": "sample://x.tsv"}


def _inputs(run: object) -> list[tuple[object, dict[str, str]]]:
    found = run.client.get_run(run.run_id).inputs.dataset_inputs
    return [(read, {tag.key: tag.value for tag in read.tags}) for read in found]


def test_a_split_without_a_digest_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        log_inputs(None, {"train": tmp_path}, {}, URL, "spam")  # type: ignore[arg-type]


def test_what_people_plot_becomes_metrics_and_everything_a_table() -> None:
    splits = [f"{of}{split}/{name}" for of in ("", "svm/") for split in SPLITS for name in ("accuracy", "loss", "f1")]
    figures = dict.fromkeys([*splits, "test/accuracy_low", "test/f1_low", "test/accuracy/billing"], 0.5)
    own = {"test/accuracy", "test/loss", "test/f1", "test/accuracy_low"}
    others = {"train/accuracy", "train/loss", "validation/accuracy", "validation/loss", "svm/test/accuracy"}
    assert to_plot(figures, "accuracy").keys() == {"accuracy"} | own | others
    table = scores_table(figures)
    assert len(table) == len(figures)
    assert table.iloc[-1].to_list() == ["model", "test", "accuracy", "billing", 0.5]
    assert set(table["of"]) == {"model", "svm"}
