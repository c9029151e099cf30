"""What a finished run shows of itself: drawn by `components.reporting`, written to MLflow, and to Prefect's page."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from components.core.home import home
from components.core.records import Facts, Manifest
from components.models.pretrained.files import ADAPTER
from components.reporting.evidence import Evidence
from components.reporting.pages import CARD, About, Findings, model_card, short_card
from components.tasks.shared import HOUR, link_to_run, show_table
from components.tracking.names import NOTE_TAG, VERDICT_TAG
from components.tracking.runs import Run, attached

Manifests = Mapping[str, Manifest]
Count = Callable[[Manifests], Mapping[str, float]]
"""Returns what the steps of a run counted, as metrics."""
Draw = Callable[[About, Manifests], Findings]
"""Returns what there is to be looked at of a run."""
Publish = Callable[[Run, Manifests, str | None, Callable[[], str]], dict[str, str | None]]
"""Publishes a model of a run under a name; the last argument makes the description of its version."""


@dataclass(frozen=True)
class Results:
    """How the runs of a kind show what came of them."""

    count: Count
    draw: Draw
    evidence: Callable[[Manifests], Evidence]
    """Returns what the figures of a run say."""
    publish: Publish
    rows: Callable[[Facts], list[dict[str, Any]]]
    """Returns the figures that are shown when a run ends, of what was found of its model: a row a metric."""
    decides: str
    """The metric that decides between two models."""


@task(timeout_seconds=HOUR, cache_policy=NO_CACHE)
def log_results(run_id: str, manifests: Manifests, results: Results) -> None:
    """Write what the steps found out to the MLflow run: data, curves, plots, tables; metrics also to Prefect's page.

    Raises:
        TrackingError: if the store cannot be written.
    """
    with attached(run_id, home()) as run:
        found = write_results(run, manifests, results)
        link_to_run(run)
    show_table(key="metrics", table=found.rows, description=str(manifests["evaluate"].facts["verdict"]))


def write_results(run: Run, manifests: Manifests, results: Results) -> Findings:
    """Write to an open run what its steps found out, its metrics before anything is drawn; return what was drawn.

    Facts become `facts.json`, the verdict of `evaluate` a tag, figures `plots/<name>.png`, and an adapter that was
    trained `adapter/`.
    """
    from components.tracking.recording import log_measured

    log_measured(run, manifests, results.count(manifests), results.decides)
    found = results.draw(about_run(run), manifests)
    for name, table in found.tables.items():
        run.log_table(table, name)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "plots").mkdir()
        for name, content in found.figures.items():
            (Path(folder) / "plots" / f"{name}.png").write_bytes(content)
        for name, text in found.pages.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        run.log_file(Path(folder))
    for file in found.files:
        run.log_file(file)
    if (adapter := manifests["fine_tune"].folder / ADAPTER).is_dir():
        run.log_file(adapter, ADAPTER)
    run.log_dict({name: manifest.facts for name, manifest in manifests.items()}, "facts.json")
    run.set_tags({VERDICT_TAG: manifests["evaluate"].facts["verdict"], NOTE_TAG: found.description})
    return found


@task(timeout_seconds=HOUR, cache_policy=NO_CACHE)
def register(run_id: str, manifests: Manifests, results: Results, model_name: str | None) -> dict[str, str | None]:
    """Log the model and register it as `candidate`; an unchanged model keeps the version that it has.

    Returns `model_uri`, and in `cached_from` the run that made the model if that was an earlier one. A new version is
    described by the short model card.

    Raises:
        TrackingError: if the store cannot be written.
    """
    with attached(run_id, home()) as run:
        evidence = results.evidence(manifests)
        found = results.publish(run, manifests, model_name, lambda: short_card(about_run(run), manifests, evidence))
        if (about := about_run(run)).version:  # which the card that was logged with the figures could not name
            run.log_text(model_card(about, manifests, evidence), CARD)
        return found


def about_run(run: Run) -> About:
    """Return what a run knows of itself: its config and the version of its code, and what it goes back to."""
    from components.tracking.registry.finding import VERSION
    from components.tracking.registry.lineage import ancestors, lineage_sentence

    version = run.model_uri if run.model_uri and VERSION.fullmatch(run.model_uri) else None
    lineage = lineage_sentence(ancestors(run))
    return About(run.name, run.run_id, run.params, run.tags, lineage, version, run.shown_uri)
