"""`gradus data labels` and `gradus data mend`: wrong labels are found, mended, and trained on."""

import csv
import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pipelines.config import load_config
from pipelines.kinds.classification.labels import Labelled
from pipelines.kinds.classification.mending import write_mended
from pipelines.run import RunSummary
from tests.pipelines import commands
from tests.pipelines.classifying import run as classify
from tests.pipelines.labelled_runs import labelled_run

SAMPLE = Path("components/data/samples/spam.tsv")
HEAD = ["row", "split", "text", "label", "suggested", "confidence", "label_probability", "run_model"]


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEAD, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def sample() -> list[list[str]]:
    return [line.split("\t", 1) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_planted_errors_are_found_mended_and_trained_on(prefect_server: None, tmp_path: Path, isolated: Path) -> None:
    rows = sample()
    there = [number for number, row in enumerate(rows) if row[0] in ("ham", "spam") and row[-1].strip()]
    planted = set(random.Random(1).sample(there, len(there) // 20))
    for number in planted:
        rows[number][0] = {"ham": "spam", "spam": "ham"}[rows[number][0]]
    source = tmp_path / "noisy.tsv"
    source.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    summary = classify(f"source.url={source}")
    done = commands.gradus("data", "labels", summary.run_id, "-o", tmp_path / "wrong.csv", "--json")
    assert done.returncode == 0, done.stderr
    found = read_csv(tmp_path / "wrong.csv")
    assert json.loads(done.stdout)["found"] == len(found)
    right = [row for row in found if int(row["row"]) - 1 in planted]
    assert len(right) / len(found) > 0.9, "precision"
    assert len(right) / len(planted) > 0.85, "recall"
    for row in found:
        assert rows[int(row["row"]) - 1] == [row["label"], row["text"]]
        assert row["suggested"] != row["label"]
        assert float(row["confidence"]) > float(row["label_probability"])
    chances = [float(row["label_probability"]) for row in found]
    assert chances == sorted(chances)
    assert {row["run_model"] for row in found} == {"", "ham", "spam"}, "of rows that it was not trained on"
    out = tmp_path / "mended"
    done = commands.gradus("data", "mend", summary.run_id, tmp_path / "wrong.csv", "--suggested", "-o", out, "--json")
    assert json.loads(done.stdout)["changed"] == len(found), done.stderr
    now = [row["label"] for row in lines(out / "data.jsonl")]
    clean = [row[0] for row in sample()]
    wrong = sum(one != other and other in ("ham", "spam") for one, other in zip(now, clean, strict=True))
    assert wrong < len(planted) / 4
    again = commands.gradus("check", out / "preset.yaml", "--json")
    assert again.returncode == 0, again.stderr


def entry(number: int, label: str, **more: str) -> dict[str, Any]:
    """Return a line of the file to mend about the row at a position of the sample."""
    given, text = sample()[number]
    return {"row": number + 1, "text": text, "label": label, "suggested": "spam" if given == "ham" else "ham"} | more


@pytest.mark.one_case
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_mended_labels_are_put_into_the_data(finished: RunSummary, tmp_path: Path, delimiter: str) -> None:
    hams = [number for number, row in enumerate(sample()) if row[0] == "ham"][:3]
    mended = [entry(hams[0], "spam"), entry(hams[1], ""), entry(hams[2], "ham")]
    file = write_csv(tmp_path / "mended.csv", mended, delimiter)
    mend = partial(commands.gradus, "data", "mend", finished.run_id, file, "--json")
    done = mend("-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["changed"], found["left_out"], found["rows"]) == (1, 1, len(sample()) - 1)
    texts = [(row["label"] or "", row["text"] or "") for row in lines(tmp_path / "out" / "data.jsonl")]
    wanted = [tuple(row) for row in sample()]
    wanted[hams[0]] = ("spam", wanted[hams[0]][1])
    del wanted[hams[1]]
    assert texts == wanted
    config = load_config(str(tmp_path / "out" / "preset.yaml"))
    assert config.source.url == str(tmp_path / "out" / "data.jsonl")
    assert (config.model.size.width, config.train.max_steps) == (16, 4), "as in the run"
    done = mend("--suggested", "-o", tmp_path / "all")
    assert json.loads(done.stdout)["changed"] == 3


def test_mended_data_of_a_sweeps_run_are_for_a_run_of_its_own(tmp_path: Path) -> None:
    table = tmp_path / "table.parquet"
    pd.DataFrame({"row": [1], "text": ["see you"], "label": ["ham"]}).to_parquet(table)
    tracking = {"experiment": "spam", "parent": "a" * 32, "run_name": "row 1", "keep_model": False}
    config = {"source": {"licence": "MIT"}, "tracking": tracking}
    write_mended(Labelled(table, table, ["ham", "spam"], whole=True), {}, config, tmp_path)
    assert yaml.safe_load((tmp_path / "preset.yaml").read_text())["tracking"] == {"experiment": "spam"}


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["train", "test"])
def test_where_the_source_has_changed_the_rows_of_the_run_are_used(
    prefect_server: None, tmp_path: Path, isolated: Path, changed: str
) -> None:
    whole = SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)
    files = {name: tmp_path / f"{name}.tsv" for name in ("train", "test")}
    files["train"].write_text("".join(whole[400:]), encoding="utf-8")
    files["test"].write_text("".join(whole[:400]), encoding="utf-8")
    summary = classify(f"source.url={files['train']}", f"source.test={files['test']}")
    files[changed].write_text("ham\tI am another file now\n")
    done = commands.gradus(
        "data", "mend", summary.run_id, write_csv(tmp_path / "mended.csv", []), "-o", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    assert "has changed since the run" in done.stderr
    assert {row["split"] for row in lines(tmp_path / "out" / "data.jsonl")} == {"train", "validation", "test"}


@pytest.mark.ci
@pytest.mark.parametrize(
    ("head", "line", "named"),
    [
        ("row,text", "1,hello", "no column label"),
        ("row,label", "1,eggs", "'eggs' is none of the labels ham, spam"),
        ("row,label", "one,ham", "row 1: 'one' is no row's number"),
        ("row,label", "99999,ham", "are not in the run's data, such as row 99999"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    finished: RunSummary, tmp_path: Path, head: str, line: str, named: str
) -> None:
    (tmp_path / "mended.csv").write_text(f"{head}\n{line}\n")
    done = commands.gradus("data", "mend", finished.run_id, tmp_path / "mended.csv", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert named in done.stderr
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


@pytest.mark.ci
def test_runs_without_labels_or_data_are_named(home: Path, saved_model: Path, name: str, tmp_path: Path) -> None:
    make = partial(labelled_run, home, tmp_path, saved_model, name, 5)
    gradus = partial(commands.gradus, "data", "labels", GRADUS_HOME=str(home))
    for run, named in ((make(pipeline="instruction"), "has no labels"), (make(), "left no ")):
        done = gradus(run, "-o", tmp_path / "wrong.csv")
        assert done.returncode == 1
        assert run[:8] in done.stderr
        assert named in done.stderr
    (tmp_path / "wrong.csv").write_text("mine")
    there = gradus(make(), "-o", tmp_path / "wrong.csv")
    assert there.returncode == 2
    assert "is there already" in there.stderr
    assert (tmp_path / "wrong.csv").read_text() == "mine"
