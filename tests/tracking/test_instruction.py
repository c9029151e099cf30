"""What an instruction run leaves to be looked at: artifacts, metrics, report and card, made from the steps' files."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from components.core.store import describe
from components.tracking.config import TrackingConfig
from components.tracking.findings import about_run
from components.tracking.instruction import log_instruction, measured, publish_language_model
from components.tracking.instruction_card import language_model_card, short_language_model_card
from components.tracking.instruction_evidence import instruction_limits, judge_sentence, response_figures, response_rows
from components.tracking.instruction_report import sample_groups
from components.tracking.markdown import DESCRIPTION_LIMIT
from components.tracking.report import About
from components.tracking.runs import Run, open_run
from tests.tracking.instructions import LEXICAL, LLAMA, SPLITS, Steps, instruction_manifests, samples
from tests.tracking.reports import Page, cells, stands_alone

QUIET = TrackingConfig(system_metrics=False, experiment="instructions")
PARAMS = {
    "name": "instruct",
    "source": {"licence": "CC BY-NC 4.0"},
    "model": {"weights": "random"},
    "prompt": {"template": "alpaca"},
    "tracking": {"model_name": "instruct"},
}
ABOUT = About("x", "0" * 32, {}, {})


@pytest.fixture(scope="session")
def steps(tmp_path_factory: pytest.TempPathFactory, saved_gpt: Path) -> Steps:
    """A run with tasks, judged by a language model that was unreadable once."""
    return instruction_manifests(tmp_path_factory.mktemp("instruct"), LLAMA, model=saved_gpt)


@pytest.fixture(scope="session")
def lexical(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    """A run without tasks, judged by comparing texts; the starting model was not asked."""
    return instruction_manifests(tmp_path_factory.mktemp("lexical"), LEXICAL, tasks=False, start=False)


@pytest.fixture(scope="session")
def logged(steps: Steps, home: Path) -> tuple[Run, Path]:
    """The run that the steps were logged to, and the folder of its artifacts."""
    return log(steps, home)


@pytest.fixture(scope="session")
def html(logged: tuple[Run, Path]) -> str:
    return (logged[1] / "report.html").read_text()


@pytest.fixture(scope="session")
def lexical_folder(lexical: Steps, home: Path) -> Path:
    return log(lexical, home)[1]


def log(steps: Steps, home: Path) -> tuple[Run, Path]:
    with open_run(QUIET, home, "instruct", PARAMS) as run:
        log_instruction(run, steps)
        uri = run.client.get_run(run.run_id).info.artifact_uri
    return run, Path(uri.removeprefix("file://"))


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def table(path: Path) -> pd.DataFrame:
    found = json.loads(path.read_text())
    return pd.DataFrame(found["data"], columns=found["columns"])


def score_interval(steps: Steps) -> str:
    metrics = steps["evaluate"].facts["metrics"]
    return f"{metrics['test/score_low']:.1f} to {metrics['test/score_high']:.1f}"


def changed(steps: Steps, name: str, **facts: object) -> Steps:
    manifest = steps[name]
    return {**steps, name: manifest.model_copy(update={"facts": manifest.facts | facts})}


def test_everything_is_among_the_runs_artifacts(logged: tuple[Run, Path], steps: Steps) -> None:
    folder = logged[1]
    plots = {f"plots/{name}.png" for name in ("curves", "scores", "tasks", "lengths")}
    tables = {"responses_test.json", "samples.json", "responses.parquet", "verdicts.parquet"}
    texts = {"report.html", "model_card.md", "metrics.json", "facts.json", "rubric.yaml", "config.yaml"}
    assert files(folder) == plots | tables | texts | {"instruction-data-with-response.json"}
    for step, name in (("evaluate", "responses.parquet"), ("judge", "verdicts.parquet")):
        assert (folder / name).read_bytes() == steps[step].path(name).read_bytes()
    assert json.loads((folder / "facts.json").read_text()) == {name: each.facts for name, each in steps.items()}


def test_a_lexical_run_without_tasks_has_neither_rubric_nor_their_figure(lexical_folder: Path) -> None:
    assert not files(lexical_folder) & {"plots/tasks.png", "rubric.yaml"}
    assert files(lexical_folder) >= {"plots/scores.png", "plots/curves.png", "report.html", "verdicts.parquet"}


def test_the_table_of_responses_begins_with_the_worst_and_drops_none(logged: tuple[Run, Path]) -> None:
    responses = table(logged[1] / "responses_test.json")
    assert len(responses) == SPLITS["test"]
    scores = responses["score"].dropna()
    assert scores.is_monotonic_increasing
    assert scores.iloc[0] == 10
    assert responses["score"].isna().tolist() == [False] * 23 + [True], "what could not be read is kept, at the end"
    shown = ["score", "task", "instruction", "input", "response", "reference", "reason"]
    assert [*responses][:7] == shown, "the page has room for so many columns"
    assert {"row", "status", "exact_match", "token_f1", "chrf", "start_response", "start_score"} <= {*responses}
    assert table(logged[1] / "samples.json")["response"].iloc[-1] == "said at step 50"


def test_data_metrics_and_description_are_on_the_runs_page(logged: tuple[Run, Path], steps: Steps) -> None:
    run = logged[0].client.get_run(logged[0].run_id)
    tags = [{tag.key: tag.value for tag in each.tags} for each in run.inputs.dataset_inputs]
    assert {each["split"]: each["mlflow.data.context"] for each in tags} == {
        "train": "training",
        "validation": "validation",
        "test": "testing",
    }
    assert all(each["sha256"] == steps["split"].files[f"{each['split']}.parquet"].sha256 for each in tags)
    facts = steps["evaluate"].facts
    assert run.data.metrics.items() >= facts["metrics"].items()
    assert (
        run.data.metrics.items()
        >= {
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
            "validation/perplexity": steps["fine_tune"].facts["validation_perplexity"],
        }.items()
    )
    assert not any(name.startswith("curve/") for name in run.data.metrics), "training itself has logged them"
    assert run.data.tags["gradus.verdict"] == facts["verdict"]
    note = run.data.tags["mlflow.note.content"]
    assert facts["verdict"] in note
    assert "365c0bd3c000a25d28ddbf732fe1c6add414de7275464c4e4d1c3b5fcb5d8ad1" in note
    assert "version 1 of the rubric" in note


def test_the_curves_of_a_cached_training_are_logged_again(steps: Steps, home: Path) -> None:
    cached = {**steps, "fine_tune": steps["fine_tune"].model_copy(update={"cached": True})}
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


def test_the_report_stands_alone(html: str, lexical_folder: Path) -> None:
    stands_alone(html, images=4)
    stands_alone((lexical_folder / "report.html").read_text(), images=3)


def test_texts_of_others_in_the_report_are_escaped(html: str) -> None:
    assert "<script" not in html
    assert "<img src=http" not in html
    assert "&lt;script&gt;alert(&#39;reason" in html
    assert "instruction-&lt;data&gt;.json" in html


def test_the_report_has_figures_judge_responses_and_recipe(html: str, steps: Steps, logged: tuple[Run, Path]) -> None:
    text = Page(html).text
    facts = steps["evaluate"].facts
    for figure in response_figures(facts):
        assert figure.title in text
        assert figure.interval in text
        assert {figure.shown(value) for value in (figure.model, figure.start, figure.reference)} <= set(
            text.split("\n")
        )
    for sentence in (facts["verdict"], judge_sentence(steps["judge"].facts), *instruction_limits(steps)):
        assert sentence in text
    for task in facts["tasks"]:
        assert task["task"] in text
    assert LLAMA["digest"] in text
    assert "rubric version 1" in text
    assert "said at step 0" in text
    assert "said at step 50" in text
    assert "It replied: eighty" in text
    assert "992.27 before training" in text
    assert steps["split"].files["test.parquet"].sha256[:16] in text
    assert 'gradus respond models:/instruct@candidate "an instruction" --input "its input"' in text
    assert "CC BY-NC 4.0" in text
    assert logged[0].run_id in text


def test_the_control_of_the_judge_is_told(steps: Steps, lexical: Steps) -> None:
    control = {"rows": 20, "own": 99.0, "other": 12.34, "tells": True}
    for manifests in (steps, lexical):
        facts = manifests["judge"].facts
        told = "As a control, on 20 rows another row's reference scores 12.3 on average, and the row's own 99.0."
        assert judge_sentence({**facts, "control": control}) == f"{judge_sentence(facts)} {told}"
        assert judge_sentence({**facts, "control": {"rows": 0}}) == judge_sentence(facts)


def test_a_lexical_measure_is_nowhere_called_a_judge(lexical: Steps, lexical_folder: Path) -> None:
    page = Page((lexical_folder / "report.html").read_text()).text
    card = (lexical_folder / "model_card.md").read_text()
    for text in (page, card):
        assert "No language model judged" in text
        assert "rubric" not in text
        assert not re.search(r"judge’s|judge's|LLM|as the judge", text)
    titles = [figure.title for figure in response_figures(lexical["evaluate"].facts)]
    assert titles == ["chrF, mean", "chrF, median", "exact match", "token F1"]
    assert "starting model" not in card.split("## Limits")[1].lower()


def test_figures_that_are_not_there_are_left_out(steps: Steps) -> None:
    metrics = {name: value for name, value in steps["evaluate"].facts["metrics"].items() if "score" not in name}
    unread = changed(steps, "evaluate", metrics=metrics)
    assert "score, mean" not in {row["metric"] for row in response_rows(unread["evaluate"].facts)}
    assert "score, mean" not in language_model_card(ABOUT, unread)
    assert response_rows(steps["evaluate"].facts)[0] == {
        "metric": "score, mean",
        "model": "65.8",
        "95 % interval": score_interval(steps),
        "starting model": "4.5",
        "baseline": "–",
        "references": "100.0",
    }


def test_a_training_that_was_not_evaluated_has_no_perplexity_and_no_curves(
    steps: Steps, tmp_path: Path, home: Path
) -> None:
    unknown = changed(
        steps, "fine_tune", validation_loss=None, validation_perplexity=None, initial_validation_loss=None
    )
    pd.DataFrame().to_parquet(tmp_path / "history.parquet")
    (tmp_path / "steps.parquet").write_bytes(steps["fine_tune"].path("steps.parquet").read_bytes())
    unknown["fine_tune"] = unknown["fine_tune"].model_copy(
        update={"folder": tmp_path, "files": describe(tmp_path), "cached": True}
    )
    run, folder = log(unknown, home)
    assert "plots/curves.png" not in files(folder)
    assert "samples.json" not in files(folder)
    assert "| validation perplexity | **–** | – | – |" in (folder / "model_card.md").read_text()
    assert "validation/perplexity" not in run.client.get_run(run.run_id).data.metrics
    stands_alone((folder / "report.html").read_text(), images=3)


def test_limits_follow_the_evidence(steps: Steps, lexical: Steps) -> None:
    def says(words: str, changed_steps: Steps) -> bool:
        return any(words in sentence for sentence in instruction_limits(changed_steps))

    assert says("1 of 24 test entries stand in train", steps)
    assert says("1 of 24 verdicts on the model's responses could not be read", steps)
    assert says("1 of 24 responses had not ended", steps)
    assert says("2 of 40 training entries are longer than 64 tokens", steps)
    assert says("a right answer in other words scores low", lexical)
    assert not says("a right answer in other words scores low", steps)
    assert not says("knows its training entries", steps)
    none = {"exact": 0, "folded": 0}
    clean = changed(steps, "split", overlap={"validation": none, "test": none})
    clean = changed(clean, "respond", stopped={"end": 24}, empty=0)
    clean = changed(clean, "fine_tune", truncated_rows={"train": 0})
    assert not says("stand in train", clean)
    assert not says("had not ended", clean)
    assert not says("are longer than", clean)
    assert says("5 of 24 responses are empty", changed(steps, "respond", empty=5))
    metrics = steps["evaluate"].facts["metrics"]
    assert not says("is within the interval", steps)
    weak = metrics | {"start/test/score": metrics["test/score"]}
    assert says("is within the interval", changed(steps, "evaluate", metrics=weak))
    strong = metrics | {"baseline/test/exact_match": 0.0}
    assert says(
        "Each task's most common training response is right about as often as the model, word for word: 33.3 %", steps
    )
    assert not says("most common training response", changed(steps, "evaluate", metrics=strong))


def test_the_model_card_tells_data_figures_limits_and_use(logged: tuple[Run, Path], steps: Steps) -> None:
    card = (logged[1] / "model_card.md").read_text()
    headings = re.findall(r"^#+ (.*)$", card, re.MULTILINE)
    assert headings[1:] == ["What it is", "Figures on the test split", "Limits", "Data", "Recipe", "How to use it"]
    assert f"| score, mean | **65.8** | {score_interval(steps)} | 4.5 | – | 100.0 |" in card
    assert "licence: CC BY-NC 4.0" in card
    assert steps["split"].files["train.parquet"].sha256 in card
    assert "`prompt.template` | `alpaca`" in card
    assert 'gradus respond models:/instruct@candidate "an instruction"' in card
    assert cells(card)
    assert all(len(borders) == 1 for borders in cells(card))


def test_samples_are_spread_from_the_first_evaluation_to_the_last() -> None:
    (group,) = sample_groups(samples(101))
    assert [each["step"] for each in group["responses"]] == [0, 70, 145, 215, 285, 355, 430, 500]
    (few,) = sample_groups(samples(3))
    assert [each["step"] for each in few["responses"]] == [0, 5, 10]
    assert sample_groups(samples(0)) == []


def test_a_model_is_registered_once_with_the_short_card(steps: Steps, home: Path) -> None:
    with open_run(QUIET, home, "instruct", PARAMS) as run:
        first = publish_language_model(run, steps, "instruct")
        version = run.client.get_model_version_by_alias("instruct", "candidate")
        about = about_run(run)
    assert first == {"model_uri": "models:/instruct/1", "cached_from": None}
    assert version.description == short_language_model_card(about, steps)
    assert steps["evaluate"].facts["verdict"] in version.description
    assert (
        len(short_language_model_card(about, changed(steps, "evaluate", verdict="long " * 2000))) == DESCRIPTION_LIMIT
    )
    assert "follows instructions" in run.client.get_registered_model("instruct").description
    with open_run(QUIET, home, "instruct", PARAMS) as again:
        assert publish_language_model(again, steps, "instruct") == {**first, "cached_from": run.run_id}
    assert len(run.client.get_run(again.run_id).outputs.model_outputs) == 1, "the same model, among its outputs too"
    assert len(run.client.search_model_versions("name = 'instruct'")) == 1


def test_what_was_counted_is_finite(steps: Steps, lexical: Steps) -> None:
    for each in (steps, lexical):
        values = pd.Series(measured(each))
        assert values.between(0, 1e9).all()
