"""The classification flow on the sample data, with a real Prefect server and a real MLflow store."""

import json
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from components.core.errors import DataRejected, TrainingError
from components.core.home import home
from components.data.addresses import SAMPLES
from pipelines.config import load_config
from pipelines.kinds.classification.flow import classification
from pipelines.run import RunSummary
from tests.pipelines.classifying import TINY, run

pytestmark = pytest.mark.usefixtures("prefect_server")

STEPS = ["download", "validate", "split", "fetch_weights", "fine_tune", "evaluate"]


def client() -> MlflowClient:
    return MlflowClient(f"sqlite:///{home()}/mlflow.db")


def only_run(status: str) -> tuple[str, dict[str, str]]:
    experiment = client().get_experiment_by_name("spam-demo")
    (found,) = client().search_runs([experiment.experiment_id])
    assert found.info.status == status
    return found.info.run_id, found.data.tags


def artifacts(run_id: str, folder: str = "") -> set[str]:
    return {entry.path for entry in client().list_artifacts(run_id, folder)}


@pytest.mark.ci
def test_a_run_leaves_everything_where_it_belongs(finished: RunSummary) -> None:
    summary = finished
    assert summary.status == "FINISHED"
    assert summary.cached_steps == []
    assert summary.model_uri == "models:/spam-demo/1"

    found = client().get_run(summary.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params["train.max_steps"] == "4"
    assert found.data.params["source.url"] == "sample://spam.tsv"
    assert found.data.metrics["test/accuracy"] == summary.metrics["test/accuracy"]
    assert found.data.metrics["data/overlap_test_folded"] == 0
    assert "On 720 test rows the language model is right on" in found.data.tags["gradus.verdict"]
    assert {entry.tags[0].value for entry in found.inputs.dataset_inputs} >= {"training", "validation", "testing"}
    steps = [metric.step for metric in client().get_metric_history(summary.run_id, "curve/batch_loss")]
    assert steps == [1, 2, 3, 4]
    evaluated = [metric.step for metric in client().get_metric_history(summary.run_id, "curve/validation_loss")]
    assert evaluated == [0, 2, 4]

    assert artifacts(summary.run_id) >= {"config.yaml", "predictions.parquet", "predictions_test.json", "metrics.json"}
    assert artifacts(summary.run_id) >= {"report.html", "model_card.md", "errors_test.json"}
    plots = (
        "curves",
        "roc_precision_recall",
        "thresholds",
        "calibration",
        "lengths",
        "confusion_train",
        "confusion_validation",
        "confusion_test",
    )
    assert artifacts(summary.run_id, "plots") == {f"plots/{name}.png" for name in plots}
    assert artifacts(summary.run_id, "validation") == {
        f"validation/{name}" for name in ("report.html", "report.json", "rejected.parquet")
    }
    version = client().get_model_version_by_alias("spam-demo", "candidate")
    assert version.version == 1
    assert version.run_id == summary.run_id


@pytest.mark.ci
def test_the_flow_runs_page_has_tables_and_a_link(finished: RunSummary) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
    from prefect.client.schemas.sorting import ArtifactSort

    summary = run()
    link = ArtifactFilter(key=ArtifactFilterKey(any_=["mlflow-run"]))
    with get_client(sync_client=True) as prefect:
        links = prefect.read_artifacts(artifact_filter=link, sort=ArtifactSort.UPDATED_DESC)
        (flow_run,) = [each.flow_run_id for each in links if summary.run_id in each.data]
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run]))
        shown = {each.key: each for each in prefect.read_artifacts(artifact_filter=of_run)}
    assert shown.keys() == {"validation", "metrics", "mlflow-run"}
    assert "mlflow ui --backend-store-uri sqlite:" in shown["mlflow-run"].description
    assert {row["name"] for row in json.loads(shown["validation"].data)} >= {"columns", "duplicates", "class_ratio"}
    assert "language model is right on" in shown["metrics"].description


@pytest.mark.ci
def test_metrics_and_baselines_of_all_splits_are_reported(finished: RunSummary) -> None:
    metrics = finished.metrics
    names = ["loss", "accuracy", "accuracy_low", "accuracy_high", "precision", "recall", "f1", "average_precision"]
    names += ["roc_auc", "calibration_error", "brier", "matthews_correlation"]
    for split in ("train", "validation", "test"):
        for prefix in ("", "tfidf/", "majority/"):
            assert {f"{prefix}{split}/{name}" for name in names} <= metrics.keys()
    assert 0.85 <= metrics["tfidf/test/accuracy"] <= 0.98
    for name in ("f1", "balanced_accuracy", "average_precision"):
        assert metrics[f"test/{name}_low"] <= metrics[f"test/{name}"] <= metrics[f"test/{name}_high"]


@pytest.mark.ci
def test_test_rows_that_an_earlier_model_learned_are_in_no_figure(finished: RunSummary) -> None:
    first = finished
    again = run(f"model.weights=runs:/{first.run_id}")
    assert "Left out" not in client().get_run(again.run_id).data.tags["gradus.verdict"], "the same split"
    second = run(f"model.weights=runs:/{again.run_id}", "split.seed=9")
    facts = mlflow.artifacts.load_dict(f"{client().get_run(second.run_id).info.artifact_uri}/facts.json")
    of_ancestors = facts["evaluate"]["ancestors"]
    assert 100 < of_ancestors["left_out"] == of_ancestors["learned"] < of_ancestors["rows"]
    assert of_ancestors["unknown"] == []
    left = of_ancestors["rows"] - of_ancestors["left_out"]
    assert sum(each["rows"] for each in facts["evaluate"]["per_class"]["test"]) == left
    verdict = client().get_run(second.run_id).data.tags["gradus.verdict"]
    assert verdict.startswith(f"On {left} test rows the language model is right on")
    assert f"Left out are {of_ancestors['left_out']} of {of_ancestors['rows']} test rows" in verdict


def test_an_unchanged_run_skips_every_step_and_says_so(finished: RunSummary) -> None:
    first = finished
    second = run()
    assert second.cached_steps == STEPS
    assert second.metrics == first.metrics
    assert second.model_uri == first.model_uri
    tags = client().get_run(second.run_id).data.tags
    assert tags["cached_from"] == first.run_id
    assert tags["gradus.cached_steps"] == ", ".join(STEPS)
    assert len(client().search_model_versions("name='spam-demo'")) == 1
    # The curves are there although nothing was trained.
    for name in ("batch_loss", "gradient_norm", "learning_rate"):
        assert len(client().get_metric_history(second.run_id, f"curve/{name}")) == 4


@pytest.mark.slow
def test_an_unchanged_model_without_a_name_is_not_logged_twice() -> None:
    first = run("tracking.model_name=null")
    second = run("tracking.model_name=null")
    assert first.model_uri is not None
    assert first.model_uri.startswith("models:/m-")
    assert second.model_uri == first.model_uri
    assert client().get_run(second.run_id).data.tags["cached_from"] == first.run_id


@pytest.mark.ci
def test_results_that_prefect_forgot_are_still_cached(finished: RunSummary) -> None:
    first = finished
    shutil.rmtree(home() / "results")
    second = run()
    assert second.cached_steps == STEPS
    assert len(client().get_metric_history(second.run_id, "curve/batch_loss")) == 4
    assert second.model_uri == first.model_uri


@pytest.mark.slow
def test_another_vocabulary_at_the_same_path_trains_again(tmp_path: Path) -> None:
    path = tmp_path / "words.tiktoken"
    shutil.copyfile(SAMPLES / "vocabulary.tiktoken", path)
    run(f"model.vocabulary={path}")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    assert run(f"model.vocabulary={path}").cached_steps == STEPS[:4]


@pytest.mark.ci
def test_another_recipe_skips_what_comes_before_training(finished: RunSummary) -> None:
    second = run("train.max_steps=3", "train.epochs=2")
    assert second.cached_steps == STEPS[:4]
    assert second.model_uri == "models:/spam-demo/2"


@pytest.mark.ci
def test_a_flipped_byte_runs_that_step_again(finished: RunSummary) -> None:
    (table,) = (home() / "store/split").glob("*/train.parquet")
    raw = bytearray(table.read_bytes())
    raw[100] ^= 1
    table.write_bytes(raw)
    # The split is written again as it was, so what depends on it is unchanged.
    assert run().cached_steps == [step for step in STEPS if step != "split"]


@pytest.mark.ci
def test_the_same_seed_gives_the_same_weights() -> None:
    weights = []
    for name in ("one", "two"):
        summary = run(f"tracking.model_name={name}")
        weights.append(client().get_model_version(name, "1").tags["gradus.model_digest"])
        (folder,) = (home() / "store/fine_tune").glob("*/model")
        (folder / "model.safetensors").unlink()  # so that the second run trains again
        assert summary.status == "FINISHED"
    assert weights[0] == weights[1]


@pytest.fixture
def real_data(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror and GPT-2's vocabulary, as an air-gapped machine has them."""
    monkeypatch.setenv("GRADUS_MIRROR", str(shared_data))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tiktoken-cache"))


REAL = [TINY[0].replace("context: 128", "context: 1024"), "model.weights=random", *TINY[1:]]


def figures(summary: RunSummary, prefix: str) -> dict[str, float]:
    metrics = client().get_run(summary.run_id).data.metrics
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


@pytest.mark.ci
@pytest.mark.usefixtures("real_data")
def test_the_book_preset_on_the_real_data() -> None:
    summary = classification(load_config("spam-book", [*REAL, "train.max_steps=20"]))
    data = figures(summary, "data/")
    assert data["rows_in"] == 5572
    assert [data[f"rows_{split}"] for split in ("train", "validation", "test")] == [1045, 149, 300]
    assert [data[f"batches_{split}"] for split in ("train", "validation", "test")] == [130, 19, 38]
    assert data["longest_train_tokens"] == 120
    assert data["overlap_test_exact"] == 37
    assert data["overlap_validation_exact"] == 13
    # What was measured elsewhere on these rows, to within one of the 300.
    assert summary.metrics["tfidf/test/accuracy"] == pytest.approx(0.967, abs=0.004)
    assert len(client().get_metric_history(summary.run_id, "curve/batch_loss")) == 20


@pytest.mark.slow
@pytest.mark.usefixtures("real_data")
def test_the_spam_preset_on_the_real_data() -> None:
    data = figures(classification(load_config("spam", REAL)), "data/")
    assert data["rows_in"] == data["rows_out"] == 5574
    assert data["overlap_test_folded"] == data["overlap_validation_folded"] == 0
    assert data["rows_test"] == pytest.approx(5574 * 0.2, abs=150), "within sampling error of groups dealt at random"


@pytest.mark.ci
def test_rejected_data_leaves_a_failed_run_with_its_evidence() -> None:
    with pytest.raises(DataRejected, match="label_in_set") as caught:
        run("validation.label_in_set.severity=error")
    run_id, tags = only_run("FAILED")
    assert "label_in_set" in tags["gradus.error"]
    assert "validation/report.html" in artifacts(run_id, "validation")
    assert caught.value.evidence is not None
    report = json.loads((caught.value.evidence / "report.json").read_text())
    assert report["verdict"] == "rejected"


@pytest.mark.ci
def test_a_diverging_training_leaves_a_failed_run_with_the_rows_of_its_step() -> None:
    with pytest.raises(TrainingError, match=r"the loss of step \d+ is .*; lower train.learning_rate") as caught:
        run("train.learning_rate=1", "train.clip=null", "train.max_steps=60", "train.weight_decay=1e8")
    run_id, tags = only_run("FAILED")
    assert artifacts(run_id, "failed") == {"failed/batch.parquet"}
    assert caught.value.evidence is not None
    assert tags["gradus.evidence"] == str(caught.value.evidence)
    rows = pd.read_parquet(caught.value.evidence / "batch.parquet")
    assert len(rows) == 16
    assert {"row", "text", "label", "tokens"} <= set(rows.columns)


@pytest.mark.slow
def test_an_earlier_model_can_be_trained_further(finished: RunSummary) -> None:
    summary = run("model.weights=models:/spam-demo@candidate")
    assert summary.model_uri == "models:/spam-demo/2"
    assert summary.cached_steps == ["download", "validate", "split"]
