"""What an instruction run leaves in MLflow, and its model in the registry."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from components.core.records import Manifest
from components.learned import LEARNED
from components.tracking.figures import png
from components.tracking.findings import about_run, log_pages
from components.tracking.instruction_card import key_lines, language_model_card, short_language_model_card
from components.tracking.instruction_evidence import judge_sentence, score_title
from components.tracking.instruction_report import render_instruction
from components.tracking.packaging import PackagedModel, log_language_model
from components.tracking.publishing import publish, reading_of
from components.tracking.recording import counted, log_curves, log_splits
from components.tracking.runs import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

EXAMPLES = 3
"""Entries that stand in the model as an example of its input."""
SHOWN_FIRST = ("score", "task", "instruction", "input", "response", "reference", "reason")
"""Columns of the table of responses that MLflow's page has room for."""
FILES = {
    "evaluate": ("responses.parquet", "metrics.json", LEARNED),
    "respond": ("instruction-data-with-response.json",),
    "judge": ("verdicts.parquet", "control.parquet", "rubric.yaml"),
}
"""Artifacts that are files of a step as they are; a rubric is there only where a language model judged."""


def log_instruction(run: Run, manifests: Mapping[str, Manifest]) -> None:
    """Log data, metrics, curves, figures, tables, report and model card of a run's steps.

    Args:
        run: the open run.
        manifests: of the steps `download`, `validate`, `split`, `fine_tune`, `respond`, `judge`, `evaluate`, and
            `respond_before` if the starting model was asked.

    Raises:
        TrackingError: if the store cannot be written.
    """
    trained, scores = manifests["fine_tune"], manifests["evaluate"]
    log_splits(run, manifests)
    if trained.cached:
        log_curves(run, trained, perplexity=True)
    run.metrics(scores.facts["metrics"] | measured(manifests), trained.facts["steps"])
    run.flush()
    _log_findings(run, manifests)
    for step, names in FILES.items():
        for name in names:
            if name in manifests[step].files:
                run.log_file(manifests[step].path(name))
    run.log_dict({name: manifest.facts for name, manifest in manifests.items()}, "facts.json")
    run.set_tags({"gradus.verdict": scores.facts["verdict"], "mlflow.note.content": note(manifests)})


def _log_findings(run: Run, manifests: Mapping[str, Manifest]) -> None:
    """Log `plots/`, `report.html`, `model_card.md`, and the tables of responses on the test split and of samples."""
    import pandas as pd

    responses = pd.read_parquet(manifests["evaluate"].path("responses.parquet"))
    samples = sample_responses(manifests["fine_tune"])
    first = [name for name in SHOWN_FIRST if name in responses]
    run.log_table(responses[[*first, *responses.columns.difference(first, sort=False)]], "responses_test.json")
    if len(samples):
        run.log_table(samples, "samples.json")
    about = about_run(run)
    drawn = {name: png(figure) for name, figure in figures(manifests, run.name)}
    report = render_instruction(about, manifests, drawn, responses, samples)
    log_pages(run, drawn, report, language_model_card(about, manifests))


def sample_responses(trained: Manifest) -> "pd.DataFrame":
    """Return what the model answered to fixed prompts while it was trained; no rows if it was not asked."""
    import pandas as pd

    if "samples.parquet" in trained.files:
        return pd.read_parquet(trained.path("samples.parquet"))
    return pd.DataFrame(columns=["step", "epoch", "row", "instruction", "input", "reference", "response"])


def measured(manifests: Mapping[str, Manifest]) -> dict[str, float]:
    """Return what the steps counted, as metrics: rows, tokens, perplexity, and how the responses ended."""
    names = ("validate", "split", "fine_tune", "respond")
    checked, _, trained, responded = (manifests[name].facts for name in names)
    values = {
        "data/rows_rejected": checked["rows_in"] - checked["rows_out"],
        "data/empty_inputs": checked["empty_inputs"],
        "data/tokens_longest": checked["tokens"]["longest"],
        "data/tokens_mean": checked["tokens"]["mean"],
        "data/tokens_seen": trained["tokens_seen"],
        "data/trained_token_share": trained["trained_token_share"],
        "validation/loss": trained["validation_loss"],
        "validation/perplexity": trained["validation_perplexity"],
        "responses/empty": responded["empty"],
        "responses/new_tokens": responded["new_tokens"],
    }
    if (before := trained.get("initial_validation_loss")) is not None:
        values |= {"start/validation/loss": before, "start/validation/perplexity": math.exp(before)}
    values |= {f"data/truncated_{split}": count for split, count in trained["truncated_rows"].items()}
    values |= {f"responses/stopped_{why}": count for why, count in responded["stopped"].items()}
    return counted(manifests) | {name: float(value) for name, value in values.items() if value is not None}


def note(manifests: Mapping[str, Manifest]) -> str:
    """Return the run's description in Markdown: the verdict, and the figures that one looks for first."""
    splits, scores = manifests["split"].facts, manifests["evaluate"].facts
    overlap = splits["overlap"]["test"]
    lines = [
        str(scores["verdict"]),
        "",
        *(f"- {line}" for line in key_lines(manifests)),
        f"- test entries that also stand in train: {overlap['exact']} word for word, {overlap['folded']} after folding",
        "- " + ", ".join(f"{name} {count:,}" for name, count in splits["rows"].items()) + " entries",
        "",
        judge_sentence(manifests["judge"].facts),
    ]
    return "\n".join(lines)


def figures(manifests: Mapping[str, Manifest], run_name: str) -> "Iterator[tuple[str, Figure]]":
    """Yield the figures of a run with the names of their files, one at a time, so that one is in memory."""
    import pandas as pd

    from components.tracking import plots_instruction as plots

    trained, scored = manifests["fine_tune"], manifests["evaluate"]
    scores = scored.facts
    history = pd.read_parquet(trained.path("history.parquet"))
    if len(history):
        yield "curves", plots.loss_figure(history, trained.facts["kept_step"], run_name)
    judge = scores["judge"]
    histogram, name = pd.read_parquet(scored.path("figures/scores.parquet")), f"{score_title(judge)} (0 to 100)"
    title, may_lack = f"{run_name}: {judge['name']}", bool(judge["is_language_model"])
    yield "scores", plots.scores_figure(histogram, scores["metrics"], name, title, may_lack)
    if len(tasks := pd.read_parquet(scored.path("tasks.parquet"))):
        yield "tasks", plots.tasks_figure(tasks, score_title(judge), "test split, by task (test rows)")
    lengths = pd.read_parquet(scored.path("responses.parquet"), columns=["new_tokens", "stopped"])
    yield "lengths", plots.lengths_figure(lengths, "lengths of the responses to the test split, and why they end")


def publish_language_model(
    run: Run, manifests: Mapping[str, Manifest], model_name: str | None
) -> dict[str, str | None]:
    """Log the trained model and register it as `candidate`, unless a version of just this model is there already.

    Returns `model_uri`, and in `cached_from` the run that made the model if that was an earlier one.

    Raises:
        TrackingError: if the store cannot be written.
    """

    def log(tags: dict[str, str]) -> PackagedModel:
        folder, card = manifests["fine_tune"].folder / "model", short_language_model_card(about_run(run), manifests)
        rows, reading = example_rows(manifests["split"]), reading_of(manifests)
        return log_language_model(run, folder, rows, model_name, card, tags, reading)

    return publish(run, manifests, model_name, log)


def example_rows(splits: Manifest) -> list[dict[str, str]]:
    """Return the first entries of the training split as examples of what the model is asked."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(splits.path("train.parquet"))
    batch = next(file.iter_batches(EXAMPLES, columns=["instruction", "input"]), None)
    return [] if batch is None else batch.to_pylist()
