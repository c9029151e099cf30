"""The instruction flow with a real Prefect server, a real MLflow store and a real judge's server."""

import json
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from components.core.errors import ConfigError, DataRejected, JudgeError, JudgeUnreachable, TableError, WeightsError
from components.core.home import home
from components.models.saved.language_model import load_gpt
from components.tracking.registry.finding import resolve_model
from pipelines.config import load_config
from pipelines.kinds.instruction.flow import instruction
from pipelines.run import RunSummary
from tests.judging.serving import OllamaServer, serve
from tests.pipelines.instructing import STEPS, artifacts, client, config, entries, run

pytestmark = pytest.mark.usefixtures("prefect_server")

ROWS = 6
"""Of 60 entries one in ten is a test row."""


def judged_by(server: OllamaServer, *more: str) -> list[str]:
    quick = ["judge.backoff=0.05", "judge.attempts=2", "judge.timeout=600"]
    return ["judge.kind=ollama", f"judge.url={server.url}", *quick, *more]


def only_run(status: str) -> tuple[str, dict[str, str]]:
    experiment = client().get_experiment_by_name("tiny")
    assert experiment is not None
    (found,) = client().search_runs([experiment.experiment_id])
    assert found.info.status == status
    return found.info.run_id, found.data.tags


@pytest.mark.ci
def test_a_run_leaves_everything_where_it_belongs(instructed: tuple[Path, RunSummary]) -> None:
    _, summary = instructed
    assert (summary.status, summary.cached_steps, summary.model_uri) == ("FINISHED", [], "models:/tiny/1")
    found = client().get_run(summary.run_id)
    assert found.data.params["pipeline"] == "instruction"
    assert found.data.params["judge.kind"] == "lexical"
    assert "judge.model" not in found.data.params, "no language model judged"
    assert found.data.metrics["test/exact_match"] == summary.metrics["test/exact_match"]
    assert found.data.metrics["reference/test/score"] == 100
    assert found.data.metrics["data/overlap_test_folded"] == 0
    for name, steps in (("batch_loss", [1, 2, 3, 4]), ("validation_perplexity", [0, 2, 4]), ("tokens_seen", [0, 2, 4])):
        history = client().get_metric_history(summary.run_id, f"curve/{name}")
        assert [metric.step for metric in history] == steps, name
    assert artifacts(summary.run_id) >= {
        "config.yaml", "facts.json", "metrics.json", "report.html", "model_card.md", "responses.parquet",
        "responses_test.json", "samples.json", "verdicts.parquet", "instruction-data-with-response.json",
    }  # fmt: skip
    assert artifacts(summary.run_id, "plots") >= {"plots/curves.png", "plots/scores.png", "plots/tasks.png"}
    assert {entry.tags[0].value for entry in found.inputs.dataset_inputs} >= {"training", "validation", "testing"}
    assert client().get_model_version_by_alias("tiny", "candidate").version == 1

    model = mlflow.pyfunc.load_model(resolve_model("models:/tiny/1", home()))
    test = pd.read_parquet(_artifact(summary.run_id, "responses.parquet"))
    answered = model.predict(test[["instruction", "input"]], params={"max_new_tokens": 6})
    assert answered["response"].tolist() == test["response"].tolist()


@pytest.mark.ci
def test_a_second_run_does_nothing_and_another_recipe_only_what_it_must(instructed: tuple[Path, RunSummary]) -> None:
    folder, first = instructed
    again = run(folder)
    assert again.cached_steps == STEPS
    assert again.metrics == first.metrics
    assert again.model_uri == first.model_uri
    assert client().get_run(again.run_id).data.tags["cached_from"] == first.run_id
    longer = run(folder, "train.max_steps=5")
    assert longer.cached_steps == ["download", "validate", "split", "fetch_weights", "respond_before"]
    shorter = run(folder, "generation.max_new_tokens=3")
    assert shorter.cached_steps == ["download", "validate", "split", "fetch_weights", "fine_tune"]


@pytest.mark.ci
def test_new_data_is_added_to_an_earlier_model_and_the_lineage_is_kept(
    instructed: tuple[Path, RunSummary], tmp_path: Path
) -> None:
    _, first = instructed
    client().set_registered_model_alias("tiny", "champion", "1")
    more = entries(120)[60:]
    second = run(tmp_path / "more", "model.weights=models:/tiny@champion", "train.keep=last", content=more)
    found = client().get_run(second.run_id)
    assert found.data.tags["gradus.parent_run"] == first.run_id
    assert found.data.tags["gradus.parent_model"].startswith("models:/")
    assert second.model_uri == "models:/tiny/2"
    assert first.run_id in Path(_artifact(second.run_id, "report.html")).read_text()


@pytest.mark.ci
def test_a_run_leaves_its_adapter_and_another_starts_from_it(tmp_path: Path) -> None:
    first = run(tmp_path, "train.trainable=lora")
    assert artifacts(first.run_id, "adapter") == {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"}
    adapter = Path(_artifact(first.run_id, "adapter"))
    second = run(tmp_path, f"model.adapter={adapter}")
    assert not {"fine_tune", "respond_before"} & set(second.cached_steps)
    said = [pd.read_parquet(_artifact(each.run_id, "responses.parquet")).set_index("row") for each in (first, second)]
    assert said[1]["start_response"].to_dict() == said[0]["response"].to_dict()
    elsewhere = shutil.copytree(adapter, tmp_path / "elsewhere")
    moved = run(tmp_path, f"model.adapter={elsewhere}")
    assert {"fine_tune", "respond_before"} <= set(moved.cached_steps), "the same adapter in another folder"
    (elsewhere / "adapter_model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"holds no adapter: there is no adapter_model\.safetensors"):
        run(tmp_path, f"model.adapter={elsewhere}")


@pytest.mark.ci
def test_test_rows_that_an_earlier_model_learned_are_in_no_figure(tmp_path: Path) -> None:
    many = entries(300)
    first = run(tmp_path, content=many)
    second = run(tmp_path, f"model.weights=runs:/{first.run_id}", "split.seed=9", content=many)
    facts = mlflow.artifacts.load_dict(f"{client().get_run(second.run_id).info.artifact_uri}/facts.json")
    of_ancestors = facts["evaluate"]["ancestors"]
    assert 0 < of_ancestors["left_out"] == of_ancestors["learned"] < of_ancestors["rows"] == 30
    assert facts["evaluate"]["rows"] == 30 - of_ancestors["left_out"]
    assert f"On {30 - of_ancestors['left_out']} test rows" in facts["evaluate"]["verdict"]
    said = f"Left out are {of_ancestors['left_out']} of 30 test rows, which an earlier model"
    assert said in facts["evaluate"]["verdict"]
    responses = pd.read_parquet(_artifact(second.run_id, "responses.parquet"))
    assert (len(responses), responses["learned_before"].sum()) == (30, of_ancestors["left_out"])
    learned = pd.read_parquet(_artifact(first.run_id, "learned.parquet"))
    assert len(learned) == facts["split"]["rows"]["train"]


@pytest.mark.ci
def test_a_real_judge_gives_every_response_its_verdict(tmp_path: Path) -> None:
    with serve(tmp_path / "ollama") as server:
        summary = run(tmp_path, *judged_by(server))
        bodies = server.chats
        assert len(bodies) == questions(summary.run_id)
        again = run(tmp_path, *judged_by(server), "judge.concurrency=2")
        assert len(server.chats) == len(bodies), "judging again asked something"
    assert again.metrics == summary.metrics
    assert {body["model"] for body in bodies} == {"llama3"}
    assert all(body["options"]["seed"] == 123 and body["options"]["temperature"] == 0 for body in bodies)
    assert all(body["options"]["num_ctx"] >= 2048 and body["format"]["type"] == "object" for body in bodies)
    assert summary.metrics["reference/test/score"] == 100
    assert 0 < summary.metrics["start/test/score"] <= 91
    assert summary.metrics["judge/control_own"] == 100
    assert summary.metrics["judge/control_other"] < 70
    facts = mlflow.artifacts.load_dict(f"{client().get_run(summary.run_id).info.artifact_uri}/facts.json")
    assert facts["judge"]["judge"]["digest"].startswith("sha256:")
    assert "rubric.yaml" in artifacts(summary.run_id)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [pytest.param(False, marks=pytest.mark.ci), True])
def test_a_judge_killed_half_way_costs_nothing_that_was_done(tmp_path: Path, stream: bool) -> None:
    """Run, kill the judge, run: refused. Start it again, run: every verdict exactly once, nothing trained twice."""
    options = (f"judge.stream={str(stream).lower()}", "judge.concurrency=2")
    with serve(tmp_path / "ollama", dies_after=5) as server:
        with pytest.raises(JudgeUnreachable, match="of 24 verdicts") as caught:
            run(tmp_path, *judged_by(server, *options))
        done = set(server.answered)
        assert len(done) >= 5
        assert "ollama serve" in str(caught.value)
        _, tags = only_run("FAILED")
        assert "of 24 verdicts" in tags["gradus.error"]
        with pytest.raises(JudgeUnreachable, match="ollama serve"):
            run(tmp_path, *judged_by(server, *options))
        server.behave()
        server.start()
        summary = run(tmp_path, *judged_by(server, *options))
        assert summary.cached_steps == STEPS[:-2]
        answered = server.answered
    verdicts = pd.read_parquet(_artifact(summary.run_id, "verdicts.parquet"))
    assert len(verdicts) == 18
    assert not verdicts.duplicated(["of", "row", "repeat"]).any()
    assert (verdicts["status"] == "scored").all()
    # What was answered in the moment of the kill may not have arrived; nothing that had was asked for again.
    assert len(answered) == questions(summary.run_id)
    assert sum(answered.values()) <= len(answered) + 2


def _artifact(run_id: str, name: str) -> str:
    store = f"sqlite:///{home()}/mlflow.db"
    return mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=name, tracking_uri=store)


def questions(run_id: str) -> int:
    """How many different things a judge was asked: what is the same response to an entry is judged once."""
    responses = pd.read_parquet(_artifact(run_id, "responses.parquet")).set_index("row")
    control = pd.read_parquet(_artifact(run_id, "control.parquet")).set_index("row")
    said = responses[["response", "start_response", "reference"]].assign(other=control["response"])
    return sum(len(set(each)) for each in said.to_numpy().tolist())


@pytest.mark.slow
def test_a_judge_that_is_down_is_named_after_all_else_is_done(tmp_path: Path) -> None:
    with serve(tmp_path / "ollama") as server:
        pass
    with pytest.raises(JudgeUnreachable, match="ollama serve"):
        run(tmp_path, *judged_by(server))
    only_run("FAILED")
    summary = run(tmp_path)  # by the lexical judge: all that came before it is there
    assert summary.cached_steps == STEPS[:-2]


def test_a_judge_without_the_model_says_how_to_get_it(tmp_path: Path) -> None:
    with serve(tmp_path / "ollama") as server, pytest.raises(JudgeError, match="ollama pull phi3"):
        run(tmp_path, *judged_by(server, "judge.model=phi3"))


@pytest.mark.slow
def test_a_judge_that_cannot_be_understood_fails_the_run_and_keeps_what_it_said(tmp_path: Path) -> None:
    with serve(tmp_path / "ollama", fault="score_150") as server, pytest.raises(JudgeError) as caught:
        run(tmp_path, *judged_by(server))
    run_id, tags = only_run("FAILED")
    evidence = Path(tags["gradus.evidence"])
    assert evidence == caught.value.evidence
    verdicts = pd.read_parquet(evidence / "verdicts.parquet")
    assert 0 < len(verdicts) <= 18, "once too many cannot be read no more are asked for"
    assert (verdicts["status"] == "unparsed").all()
    assert verdicts["reply"].str.contains("150").all()
    assert artifacts(run_id, "failed") >= {"failed/verdicts.parquet", "failed/responses.parquet"}


BAD_DATA = {
    "malformed": ('[{"instruction": "a",\n "output" "b"}]', TableError, r"line 2, column 11"),
    "no object": ('[{"instruction": "a", "output": "b"}, 7]', TableError, r"record 2"),
    "no field": ([{"instruction": "a", "input": "b"}], DataRejected, r"no column output"),
    "empty": ("[]", DataRejected, r"row"),
}


@pytest.mark.parametrize(
    "name", ["malformed", "empty", *(pytest.param(name, marks=pytest.mark.slow) for name in ("no object", "no field"))]
)
def test_bad_data_is_one_line_and_a_failed_run(tmp_path: Path, name: str) -> None:
    content, kind, said = BAD_DATA[name]
    with pytest.raises(kind, match=said) as caught:
        run(tmp_path, content=content or "[]")
    _, tags = only_run("FAILED")
    assert str(caught.value).splitlines()[0] in tags["gradus.error"]


@pytest.mark.slow
def test_entries_longer_than_the_context_are_left_out_and_named(tmp_path: Path) -> None:
    long = entries()
    long[10]["output"] = "very " * 100 + "long"
    summary = run(tmp_path, content=long)
    report = json.loads(Path(_artifact(summary.run_id, "validation/report.json")).read_text())
    assert report["rows_out"] == 59
    rejected = pd.read_parquet(_artifact(summary.run_id, "validation/rejected.parquet"))
    assert rejected["row"].tolist() == [11]
    with pytest.raises(DataRejected, match="length"):
        run(tmp_path, "validation.length.severity=error", content=long)


def test_a_classifier_is_no_start_for_a_language_model(tmp_path: Path, saved_model: Path) -> None:
    shape, vocabulary = "{layers: 1, heads: 2, width: 16, context: 32}", saved_model / "vocabulary.tiktoken"
    with pytest.raises(ConfigError, match=r"model\.weights is a classifier"):
        run(tmp_path, f"model.weights={saved_model}", f"model.size={shape}", f"model.vocabulary={vocabulary}")


@pytest.mark.ci
def test_another_template_than_the_weights_know_is_said_before_training(
    instructed: tuple[Path, RunSummary], caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = instructed
    run(folder, "model.weights=models:/tiny@candidate", "prompt.template=completion")
    assert "trained with another prompt.template" in caplog.text


def test_an_unknown_template_variable_is_found_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"prompt.template.instruction: \{instrction\} is no variable"):
        config(tmp_path, "prompt.template.instruction='Q: {instrction}'")


@pytest.mark.ci
def test_a_run_that_would_learn_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="every target of the 51 train entries is masked"):
        run(tmp_path, "train.max_length=3")
    only_run("FAILED")


@pytest.mark.slow
def test_the_books_preset_on_the_real_data(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADUS_MIRROR", str(shared_data))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tiktoken-cache"))
    book = load_config(
        "instruct-book",
        [
            "model.size=124M", "model.weights=random", "train.max_steps=5", "train.eval_batches=1",
            "judge.kind=lexical",
            "generation.max_new_tokens=12", "tracking.system_metrics=false",
        ],
    )  # fmt: skip
    summary = instruction(book)  # type: ignore[arg-type]
    assert summary.status == "FINISHED"
    metrics = client().get_run(summary.run_id).data.metrics
    assert [metrics[f"data/rows_{split}"] for split in ("train", "test", "validation")] == [935, 110, 55]
    responses = pd.read_parquet(_artifact(summary.run_id, "responses.parquet"))
    assert len(responses) == 110
    original = json.loads((shared_data / "instruction-data.json").read_text(encoding="utf-8"))
    answered = json.loads(Path(_artifact(summary.run_id, "instruction-data-with-response.json")).read_text())
    assert [{key: each[key] for key in ("instruction", "input", "output")} for each in answered] == original[935:1045]
    assert sorted(responses["row"]) == list(range(936, 1046))
    assert metrics["curve/train_loss"] < 10.9
    (trained,) = [path for path in (home() / "store/fine_tune").iterdir() if path.is_dir()]
    assert load_gpt(trained / "model").card.tie_embeddings is False
