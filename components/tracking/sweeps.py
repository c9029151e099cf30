"""A sweep in MLflow: a parent run, and the runs under it, which its pages nest."""

from pathlib import Path

from components.tracking.reading import RecordedRun
from components.tracking.stores import every, open_client, tracking_errors

PARENT_TAG = "mlflow.parentRunId"
"""Tag of a run: the id of the one that it stands under on MLflow's pages."""
SWEEP_TAG = "gradus.sweep"
"""Tag of a parent run: what its sweep is known again by."""


def find_sweep(experiment: str, identity: str, home: Path) -> str | None:
    """Return the id of the newest run of a sweep that was not deleted, or None.

    Raises:
        TrackingError: if the store cannot be read.
    """
    client = open_client(home)
    with tracking_errors("cannot look up the sweep"):
        found = client.get_experiment_by_name(experiment)
        if found is None or found.lifecycle_stage != "active":
            return None
        having = f"tags.`{SWEEP_TAG}` = '{identity}'"
        runs = client.search_runs([found.experiment_id], having, max_results=1, order_by=["attributes.start_time DESC"])
        return str(runs[0].info.run_id) if runs else None


def runs_under(parent: str, home: Path) -> list[RecordedRun]:
    """Return the runs that stand under another one, the newest first.

    Raises:
        TrackingError: if the store cannot be read.
    """
    client = open_client(home)
    with tracking_errors(f"cannot read the runs under {parent}"):
        experiment = client.get_run(parent).info.experiment_id
        found = list(every(client.search_runs, [experiment], f"tags.`{PARENT_TAG}` = '{parent}'"))
        return [RecordedRun.of(run) for run in sorted(found, key=lambda run: -run.info.start_time)]
