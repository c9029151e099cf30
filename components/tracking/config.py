"""The section `tracking` of a preset."""

from pydantic import Field

from components.core.config import Config

OF_A_SWEEP = {"run_name", "parent", "keep_model"}
"""Keys that a sweep sets to keep its runs together: they change no model."""


class TrackingConfig(Config):
    """Where and under which names a run is recorded in MLflow."""

    experiment: str = Field(default="gradus", min_length=1, max_length=256)
    """The MLflow experiment; created when it is not there."""
    model_name: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[^/:]+$")
    """The registered model that a run adds a version to; none: the model is logged, not registered."""
    keep_model: bool = True
    """Whether the model is logged to MLflow, and what was trained stays in the store; false keeps the figures alone."""
    system_metrics: bool = True
    """Sample processor, memory, disk, network and GPU use while the run is open."""
    run_name: str | None = Field(default=None, min_length=1, max_length=250)
    """What the run is called in MLflow and Prefect; null: as the preset is."""
    parent: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    """The id of the MLflow run that this one stands under, as the runs of a sweep do."""
