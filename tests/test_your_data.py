"""The examples of docs/your_data.md, as they stand there, on small made files."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from components.core.home import home
from components.data.batches import schema
from components.data.download import download
from components.data.split.labelled import split
from components.data.tables import read_batches
from components.data.validation.labelled import validate
from pipelines.config import load_config
from pipelines.kinds.classification.config import ClassificationConfig

PAGE = Path(__file__).parents[1] / "docs/your_data.md"
NAMES = ["sms", "reviews", "topics"]
EACH = 30


def blocks() -> dict[str, str]:
    """Return the files that the page shows, by name."""
    found = re.findall(r"`(\w+\.(?:yaml|csv|jsonl|json))`[^`]*?\n\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return dict(found)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path / "mine"


def preset(name: str) -> ClassificationConfig:
    Path(f"{name}.yaml").write_text(blocks()[f"{name}.yaml"])
    return load_config(f"{name}.yaml", ["train.max_steps=4", "tracking.system_metrics=false"])


def write_data(config: ClassificationConfig) -> None:
    """Write a file as the preset wants it, with 30 rows of each label."""
    raw = {name: key for key, name in (config.source.label_map or {}).items()}
    things = ["apple", "bread", "candle", "dinner", "evening", "forest"]
    kinds = ["cheap", "quick", "great", "sweet", "sunny"]
    rows: list[dict[str, Any]] = []
    for label in config.validation.labels:
        for row in range(EACH):
            text = f"{label} is the word for a {kinds[row % 5]} {things[row // 5]}"
            value = raw.get(label, label)
            rows.append({str(key): text for key in config.source.fields_of("text")})
            rows[-1][str(config.source.columns["label"])] = int(value) if value.isdigit() else value
    path = Path(config.source.url)
    if config.source.format == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    elif config.source.format == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))


def test_the_page_has_three_examples_and_their_first_rows() -> None:
    assert sorted(blocks()) == sorted(
        ["sms.yaml", "sms.csv", "reviews.yaml", "reviews.jsonl", "topics.yaml", "topics.json"]
    )
    assert len(blocks()["sms.yaml"].splitlines()) <= 10


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_shown_can_be_read(folder: Path, name: str) -> None:
    config = preset(name)
    Path(config.source.url).write_text(blocks()[config.source.url])
    table = pa.Table.from_batches(
        read_batches(Path(config.source.url), config.source), schema(config.source.table_columns)
    )
    assert set(table["label"].to_pylist()) == set(config.validation.labels)
    assert all(text and "{" not in text for text in table["text"].to_pylist())


@pytest.mark.ci
@pytest.mark.parametrize("name", NAMES)
def test_an_example_gets_through_the_data_steps(folder: Path, name: str) -> None:
    config = preset(name)
    write_data(config)
    steps = {step: folder / step for step in ("download", "validate", "split")}
    for out in steps.values():
        out.mkdir()
    download(config.source, folder / "downloads", None, steps["download"])
    table = validate(steps["download"] / "table.parquet", config.validation, steps["validate"])
    assert table["class_counts"] == dict.fromkeys(config.validation.labels, EACH)
    facts = split(
        steps["validate"] / "table.parquet",
        config.split,
        config.balance,
        table["labels"],
        steps["split"],
        table["ordered"],
    )
    assert facts["ordered"] is (name == "reviews")
    assert facts["class_weights"] == (pytest.approx([1.0] * 5) if name == "reviews" else None)
    assert sum(facts["rows"].values()) == EACH * len(config.validation.labels)
    text = pd.read_parquet(steps["split"] / "test.parquet")["text"][0]
    assert ("\n\n" in text) is (name == "reviews")


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_the_examples_run_to_a_model_that_answers(folder: Path) -> None:
    from components.serving.load import load_model
    from components.tracking.registry.finding import resolve_model
    from components.tracking.stores import tracking_uri
    from pipelines.kinds.classification.flow import classification

    for name in NAMES:
        config = preset(name)
        write_data(config)
        summary = classification(config)
        assert (summary.status, summary.model_uri) == ("FINISHED", f"models:/{name}/1")
        assert ("test/mean_absolute_error" in summary.metrics) is (name == "reviews"), sorted(summary.metrics)
        model = load_model(resolve_model(f"models:/{name}@candidate", home()), tracking_uri(home()))
        answer = model.predict(["You have won a prize", "Broke at once\n\nThe handle came off."])
        assert set(answer["label"]) <= set(config.validation.labels)
        assert answer["probability"].between(1 / len(config.validation.labels), 1).all()
