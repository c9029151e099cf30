"""What a finished run shows of itself: drawn by `components.reporting`, written to MLflow, and to Prefect's page."""

from collections.abc import Callable, Mapping

from components.core.home import home
from components.core.records import Manifest
from components.reporting.about import About
from components.reporting.card import short_card
from components.reporting.evidence import Evidence
from components.reporting.findings import Findings
from components.tasks.artifacts import show_table
from components.tasks.shared import link_to_run
from components.tracking.runs import Run

Manifests = Mapping[str, Manifest]
Count = Callable[[Manifests], Mapping[str, float]]
"""Returns what the steps of a run counted, as metrics."""
Draw = Callable[[About, Manifests], Findings]
"""Returns what there is to be looked at of a run."""
Publish = Callable[[Run, Manifests, str | None, Callable[[], str]], dict[str, str | None]]
"""Publishes a model of a run under a name; the last argument makes the description of its version."""


def show_results(run_id: str, manifests: Manifests, count: Count, draw: Draw) -> None:
    """Write what the steps of a run found out to its MLflow run, and its metrics to Prefect's page as well.

    Raises:
        TrackingError: if the store cannot be written.
    """
    from components.tracking.runs import attached

    with attached(run_id, home()) as run:
        found = write_results(run, manifests, count, draw)
        link_to_run(run)
    show_table(key="metrics", table=found.rows, description=str(manifests["evaluate"].facts["verdict"]))


def write_results(run: Run, manifests: Manifests, count: Count, draw: Draw) -> Findings:
    """Write to an open run what its steps found out, its metrics before anything is drawn; return what was drawn."""
    from components.tracking.recording import log_findings, log_measured

    log_measured(run, manifests, count(manifests))
    found = draw(about_run(run), manifests)
    log_findings(run, manifests, found.tables, found.figures, found.pages, found.description, found.files)
    return found


def publish_with_card(
    run_id: str, manifests: Manifests, model_name: str | None, read: Callable[[Manifests], Evidence], publish: Publish
) -> dict[str, str | None]:
    """Publish the model of a run; if it is a new one, its version is described by the short model card.

    Raises:
        TrackingError: if the store cannot be written.
    """
    from components.tracking.runs import attached

    with attached(run_id, home()) as run:
        return publish(run, manifests, model_name, lambda: short_card(about_run(run), manifests, read(manifests)))


def about_run(run: Run) -> About:
    """Return what a run knows of itself: its config and the version of its code, and what it goes back to."""
    from components.tracking.registry.lineage import ancestors, lineage_sentence

    return About(run.name, run.run_id, run.params, run.tags, lineage_sentence(ancestors(run)))
