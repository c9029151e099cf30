"""`gradus runs`, `models`, `explain`, `schema`, `doctor` and `--version`: what people look for, where they look."""

import json
import socket
from functools import partial
from importlib.metadata import version
from pathlib import Path

import jsonschema
import pytest
import yaml

from pipelines.config import load_config, shipped_presets
from pipelines.keys import all_keys, explain, schema
from pipelines.kinds import KINDS
from tests.pipelines import commands
from tests.pipelines.labelled_runs import labelled_run

PRESETS = sorted(Path("pipelines/kinds").glob("*/presets/*.yaml"))


@pytest.fixture
def made(home: Path, saved_model: Path, name: str, tmp_path: Path) -> list[str]:
    """Two finished runs of one registered model."""
    make = partial(labelled_run, home, tmp_path, saved_model, name, pipeline="classification")
    return [make(30), make(5)]


def test_runs_are_listed_with_their_primary_metric_the_newest_first(home: Path, made: list[str], name: str) -> None:
    gradus = partial(commands.gradus, GRADUS_HOME=str(home))
    listed = gradus("runs", "-n", "2")
    lines = [line for line in listed.stdout.splitlines() if line[:8] in {run[:8] for run in made}]
    assert [line[:8] for line in lines] == [made[1][:8], made[0][:8]]
    assert ["accuracy 0.9750" in lines[0], "accuracy 0.8500" in lines[1]] == [True, True]
    assert f"{name}/2 @candidate" in lines[0]
    found = json.loads(gradus("runs", "--where", 'metrics."test/accuracy" > 0.9', "--json").stdout)
    assert made[1] in [run["run_id"] for run in found]
    assert made[0] not in [run["run_id"] for run in found]
    assert json.loads(gradus("runs", "--status", "failed", "--preset", "no-such", "--json").stdout) == []
    refused = gradus("runs", "--status", "finishd")
    assert refused.returncode == 2
    assert "killed" in refused.stderr


def test_one_run_is_shown_whole(home: Path, made: list[str]) -> None:
    shown = commands.gradus("runs", made[0][:10], GRADUS_HOME=str(home))
    assert shown.returncode == 0, shown.stderr
    for wanted in (made[0], "finished", "accuracy", "0.8500", "gradus promote"):
        assert wanted in shown.stdout
    unknown = commands.gradus("runs", "0" * 12, GRADUS_HOME=str(home))
    assert unknown.returncode == 1
    assert "no run begins with 000000000000" in unknown.stderr


def test_a_filter_that_means_nothing_is_one_line(home: Path, made: list[str]) -> None:
    refused = commands.gradus("runs", "--where", "accuracy is good", GRADUS_HOME=str(home))
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "accuracy is good" in refused.stderr
    assert refused.stderr.endswith("; correct what is asked for\n")


@pytest.mark.ci
def test_models_are_listed_with_who_is_in_use(home: Path, made: list[str], name: str) -> None:
    listed = commands.gradus("models", GRADUS_HOME=str(home)).stdout
    line = next(line for line in listed.splitlines() if line.startswith(name))
    assert "version 2  accuracy 0.9750" in line
    versions = commands.gradus("models", name, GRADUS_HOME=str(home)).stdout
    assert [part in versions for part in (made[0][:8], made[1][:8], "candidate")] == [True] * 3
    unknown = commands.gradus("models", "no-such", GRADUS_HOME=str(home))
    assert unknown.returncode == 1
    assert name in unknown.stderr


def test_a_run_is_named_by_what_was_set(tmp_path: Path) -> None:
    config = load_config("spam-demo", ["train.epochs=3", "train.learning_rate=1e-4"])
    assert config.run_name == "spam-demo epochs=3 learning_rate=1e-4"
    assert config.overrides == ("train.epochs=3", "train.learning_rate=1e-4")
    assert load_config("spam-demo").run_name == "spam-demo"
    assert load_config("spam-demo", ["source.limit=50"]).run_name == "spam-demo-limit-50"
    secret = load_config("instruct-demo", ["judge.extra={api_token: abc}"])
    assert "abc" not in secret.run_name + "".join(secret.overrides)


@pytest.mark.parametrize(
    "key", ["train.learning_rate", "source.columns", "judge.max_unparsed", "split.fractions.train"]
)
def test_a_key_is_explained_by_meaning_type_and_default(key: str) -> None:
    shown = commands.gradus("explain", key)
    assert shown.returncode == 0, shown.stderr
    assert "type " in shown.stdout
    assert "default " in shown.stdout
    assert len(explain(key)[0].meaning) > 10


def test_a_section_lists_its_keys_and_kinds_that_agree_are_told_once() -> None:
    assert "train.learning_rate" in commands.gradus("explain", "train").stdout
    assert [each.kinds for each in explain("train.epochs")] in ([list(KINDS)], [[kind] for kind in KINDS])
    assert [each.kinds for each in explain("judge.model")] == [["instruction"]]


@pytest.mark.parametrize(
    ("key", "hint"),
    [("learning_rate", "train.learning_rate"), ("train.epoch", "train.epochs"), ("zzz", "gradus explain")],
)
def test_an_unknown_key_is_one_line_with_what_was_meant(key: str, hint: str) -> None:
    refused = commands.gradus("explain", key)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert hint in refused.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_has_a_meaning(kind: str) -> None:
    assert [key for key in all_keys(kind) for each in explain(key) if not each.meaning] == []


def test_the_schema_takes_what_presets_say_and_refuses_what_they_may_not() -> None:
    whole = json.loads(commands.gradus("schema").stdout)
    assert whole == schema()
    check = jsonschema.Draft202012Validator(whole)
    for path in PRESETS:
        check.validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    for config in shipped_presets().values():
        check.validate(json.loads(config.model_dump_json()))
    for wrong in ({"train": {"epochz": 3}}, {"train": {"epochs": -1}}, {"pipeline": "instruction", "balance": {}}):
        assert not check.is_valid({"source": {"url": "a.csv"}, "validation": {}, **wrong})


def test_presets_name_their_schema_which_is_the_one_of_this_code() -> None:
    for path in PRESETS:
        named = path.read_text(encoding="utf-8").splitlines()[0].partition("$schema=")[2]
        assert json.loads((path.parent / named).read_text(encoding="utf-8")) == schema(), (
            "run `gradus schema > pipelines/preset.schema.json`"
        )


def test_data_of_a_preset_lies_beside_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "presets").mkdir()
    preset = tmp_path / "presets" / "mine.yaml"
    preset.write_text(
        "source: {url: data/a.csv, test: {url: b.csv}, validation: c.csv}\nvalidation: {labels: [x, y]}\n"
    )
    source = load_config(str(preset)).source  # type: ignore[attr-defined]
    beside = preset.parent
    assert source.url == str(beside / "data/a.csv")
    assert (source.test.url, source.validation.url) == (str(beside / "b.csv"), str(beside / "c.csv"))
    monkeypatch.chdir(tmp_path)
    set_anew = load_config("presets/mine.yaml", ["source.url=here.csv"]).source  # type: ignore[attr-defined]
    assert (set_anew.url, set_anew.test.url) == ("here.csv", "presets/b.csv")


def test_doctor_says_what_is_there_and_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well = commands.gradus("doctor", "--json", GRADUS_HOME=str(home))
    assert well.returncode == 0, well.stderr
    findings = {each["name"]: each for each in json.loads(well.stdout)["findings"]}
    assert {"Python", "PyTorch", "processor", "memory", "home", "MLflow", "Prefect", "Ollama"} <= findings.keys()
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ill = commands.gradus("doctor", GRADUS_HOME=str(home), MLFLOW_TRACKING_URI=nobody)
    assert ill.returncode == 1
    assert "MLFLOW_TRACKING_URI" in " ".join(ill.stdout.split())


def test_the_version_is_printed() -> None:
    assert commands.gradus("--version").stdout == f"gradus {version('gradus')}\n"
