"""The catalogue: every block as a Prefect task, its timeout, retries and caching side by side.

    from components.tasks import download, validate, split
    from components.tasks.instruction import fine_tune, judge, respond

Steps return a `Manifest` and are cached by content (`components.core.steps`); the tasks that report and register write
to MLflow and are not. Retries stand only where a network is involved: a failed training is not run again by itself.
The tasks of classification are those of this package; those of instructions have the same names in their own module.
"""

from components.tasks.classification import evaluate, fine_tune, read_frozen, split, validate
from components.tasks.results import log_results, register
from components.tasks.shared import download, fetch_weights, report_failed_training, report_validation
from components.training.config import uses_cached_features as reads_ahead

__all__ = [
    "download",
    "evaluate",
    "fetch_weights",
    "fine_tune",
    "log_results",
    "read_frozen",
    "reads_ahead",
    "register",
    "report_failed_training",
    "report_validation",
    "split",
    "validate",
]
