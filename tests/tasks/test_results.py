"""What finished runs of both kinds leave in MLflow: artifacts, metrics, curves, descriptions and models."""

import json
from pathlib import Path

import pytest

from components.reporting.instruction import evidence
from components.reporting.pages import DESCRIPTION_LIMIT, short_card
from components.tasks.results import about_run, write_results
from components.tracking.config import TrackingConfig
from components.tracking.recording import to_plot
from components.tracking.registry.publishing import publish_classifier, publish_language_model
from components.tracking.runs import Run, open_run
from pipelines.kinds import part_of
from tests.reporting.classifications import Steps, classification_manifests
from tests.reporting.instructions import LEXICAL, instruction_manifests

QUIET = TrackingConfig(system_metrics=False, experiment="results")
PARAMS = {"model": {"weights": "random"}, "tracking": {"model_name": "named"}}
Logged = tuple[Run, Path]


@pytest.fixture(scope="session")
def classified(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Steps:
    return classification_manifests(tmp_path_factory.mktemp("classified"), saved_model)


@pytest.fixture(scope="session")
def instructed(saved_gpt: Path, tmp_path_factory: pytest.TempPathFactory) -> Steps:
    return instruction_manifests(tmp_path_factory.mktemp("instructed"), model=saved_gpt)


@pytest.fixture(scope="session")
def logged(instructed: Steps, home: Path) -> Logged:
    """The run that the steps were logged to, and the folder of its artifacts."""
    return log(instructed, home)


def log(steps: Steps, home: Path) -> Logged:
    with open_run(QUIET, home, "a run", PARAMS) as run:
        write_results(run, steps, part_of("instruction" if "respond" in steps else "classification", "flow").RESULTS)
        uri = run.client.get_run(run.run_id).info.artifact_uri
    return run, Path(uri.removeprefix("file://"))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.ci
def test_a_classification_run_leaves_pages_plots_tables_and_files(classified: Steps, home: Path) -> None:
    _, folder = log(classified, home)
    plots = [
        "curves",
        "roc_precision_recall",
        "thresholds",
        "calibration",
        "lengths",
        *(f"confusion_{name}" for name in ("train", "test")),
    ]
    assert files(folder) >= {
        "report.html",
        "model_card.md",
        "errors_test.json",
        "predictions_test.json",
        "predictions.parquet",
        "metrics.json",
        *(f"plots/{name}.png" for name in plots),
    }
    assert set(json.loads((folder / "errors_test.json").read_text())) == {"columns", "data"}


@pytest.mark.ci
def test_an_instruction_run_leaves_pages_plots_tables_and_files(logged: Logged, instructed: Steps) -> None:
    folder = logged[1]
    plots = {f"plots/{name}.png" for name in ("curves", "scores", "tasks", "lengths")}
    tables = {"responses_test.json", "samples.json", "scores.json", "responses.parquet", "verdicts.parquet"}
    texts = {"report.html", "model_card.md", "metrics.json", "facts.json", "rubric.yaml", "config.yaml"}
    assert files(folder) == plots | tables | texts | {"instruction-data-with-response.json"}
    for step, name in (("evaluate", "responses.parquet"), ("judge", "verdicts.parquet")):
        assert (folder / name).read_bytes() == instructed[step].path(name).read_bytes()
    assert json.loads((folder / "facts.json").read_text()) == {name: each.facts for name, each in instructed.items()}
    assert logged[0].run_id in (folder / "report.html").read_text()


def test_a_lexical_run_without_tasks_has_neither_rubric_nor_their_figure(tmp_path: Path, home: Path) -> None:
    steps = instruction_manifests(tmp_path / "lexical", LEXICAL, tasks=False, start=False)
    found = files(log(steps, home)[1])
    assert not found & {"plots/tasks.png", "rubric.yaml"}
    assert found >= {"plots/scores.png", "plots/curves.png", "report.html", "verdicts.parquet"}


@pytest.mark.ci
def test_data_metrics_and_description_are_on_the_runs_page(logged: Logged, instructed: Steps) -> None:
    run = logged[0].client.get_run(logged[0].run_id)
    tags = [{tag.key: tag.value for tag in each.tags} for each in run.inputs.dataset_inputs]
    contexts = {each["split"]: each["mlflow.data.context"] for each in tags}
    assert contexts == {"train": "training", "validation": "validation", "test": "testing"}
    assert all(each["sha256"] == instructed["split"].files[f"{each['split']}.parquet"].sha256 for each in tags)
    facts = instructed["evaluate"].facts
    counted = {
        "data/rows_rejected": 3,
        "data/rows_test": 24,
        "data/overlap_test_folded": 1,
        "data/tokens_seen": 19_500,
        "data/trained_token_share": 0.31,
        "data/truncated_train": 2,
        "responses/stopped_length": 1,
        "responses/empty": 0,
        "model/parameters": 163_840,
        "seconds/judge": 1.5,
        "validation/perplexity": instructed["fine_tune"].facts["validation_perplexity"],
    }
    assert run.data.metrics.items() >= (to_plot(facts["metrics"], "score") | counted).items()
    assert not any(name.startswith("curve/") for name in run.data.metrics), "training itself has logged them"
    assert run.data.tags["gradus.verdict"] == facts["verdict"]
    note = run.data.tags["mlflow.note.content"]
    assert facts["verdict"] in note
    assert "365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1" in note
    assert "version 1 of the rubric" in note


def test_the_curves_of_a_cached_training_are_logged_again(instructed: Steps, home: Path) -> None:
    cached = {**instructed, "fine_tune": instructed["fine_tune"].model_copy(update={"cached": True})}
    run, _ = log(cached, home)
    stored = run.client.get_run(run.run_id).data.metrics
    curves = {name.removeprefix("curve/") for name in stored if name.startswith("curve/")}
    splits = {f"{split}_{what}" for split in ("train", "validation") for what in ("loss", "accuracy", "perplexity")}
    steps_of = {"batch_loss", "gradient_norm", "learning_rate"}
    assert curves == steps_of | splits | {"epoch", "examples_seen", "tokens_seen"}
    assert len(run.client.get_metric_history(run.run_id, "curve/batch_loss")) == 50
    tokens = run.client.get_metric_history(run.run_id, "curve/tokens_seen")
    assert [point.step for point in tokens] == list(range(0, 51, 5))
    assert "seconds/fine_tune" not in stored


@pytest.mark.ci
def test_a_registered_classifier_carries_the_description_it_is_given(classified: Steps, home: Path) -> None:
    with open_run(QUIET, home, "spam", PARAMS) as run:
        publish_classifier(run, classified, "findings", lambda: "What it is.")
        version = run.client.get_model_version_by_alias("findings", "candidate")
    assert version.description == "What it is."


@pytest.mark.ci
def test_a_language_model_is_registered_once_with_its_short_card(instructed: Steps, home: Path) -> None:
    with open_run(QUIET, home, "instruct", PARAMS) as run:
        card = short_card(about_run(run), instructed, evidence(instructed))
        first = publish_language_model(run, instructed, "instruct", lambda: card)
        version = run.client.get_model_version_by_alias("instruct", "candidate")
    assert first == {"model_uri": "models:/instruct/1", "cached_from": None}
    assert version.description == card
    assert instructed["evaluate"].facts["verdict"] in card
    assert len(card) <= DESCRIPTION_LIMIT
    assert "follows instructions" in run.client.get_registered_model("instruct").description
    with open_run(QUIET, home, "instruct", PARAMS) as again:
        linked = publish_language_model(again, instructed, "instruct", lambda: pytest.fail("it is described already"))
    assert linked == {**first, "cached_from": run.run_id}
    assert len(run.client.get_run(again.run_id).outputs.model_outputs) == 1, "the same model, among its outputs too"
    assert len(run.client.search_model_versions("name = 'instruct'")) == 1
