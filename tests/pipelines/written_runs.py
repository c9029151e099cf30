"""Runs of language models as their flow leaves them in MLflow, with nothing but the model."""

from pathlib import Path

from components.tracking.config import TrackingConfig
from components.tracking.registry.packages import language_model_package
from components.tracking.registry.publishing import log_package
from components.tracking.runs import open_run

QUIET = TrackingConfig(experiment="written", system_metrics=False)


def written_run(home: Path, model: Path, name: str, weights: str = "random") -> str:
    """Record a run whose model, trained from `weights`, is registered as `name`; return its id."""
    with open_run(QUIET, home, "written", {"pipeline": "instruction", "model": {"weights": weights}}) as run:
        log_package(run, language_model_package(model, [{"instruction": "a"}]), name)
    return run.run_id
