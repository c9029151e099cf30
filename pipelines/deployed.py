"""The classification flow as a deployment starts it: with plain parameters, on a machine that a worker chose."""

import os
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.states import Failed

from components.errors import ConfigError, GradusError
from components.steps import run_logger
from components.tracking.runs import describe_error
from pipelines.classification import RunSummary, classification
from pipelines.config import load_config


@flow(name="classification", flow_run_name="{preset}", persist_result=False)
def run_preset(preset: str, overrides: list[str] = []) -> RunSummary | State[Any]:  # noqa: B006 - Prefect shows it
    """Run a preset, from download to registered model; `gradus run PRESET --set ...` as a deployment.

    It is one flow run, and stands with those of `gradus run` under the flow `classification`.

    Args:
        preset: a name from `gradus presets`, or the absolute path of a YAML file on the worker's machine.
        overrides: what `--set` takes, such as `train.epochs=3`.

    Returns:
        What the run left; or, where it failed for a reason that Gradus knows, a failed state that says it in one
        line. Called from Python, the reason is raised.

    Raises:
        GradusError: what `classification` raises, and ConfigError for parameters or folders that cannot be used.
    """
    try:
        _require_lasting_home()
        return classification.fn(load_config(preset, overrides))
    except GradusError as error:
        message = describe_error(error)
        run_logger().error(message)
        return Failed(message=message, data=error)


def _require_lasting_home() -> None:
    """Refuse to work in the folder that a worker makes for a run and deletes after it."""
    if not Path(os.environ.get("GRADUS_HOME", "")).expanduser().is_absolute():
        raise ConfigError(
            "GRADUS_HOME is not an absolute path where this run was started, and its working directory may be deleted: "
            "start the worker with GRADUS_HOME set to the folder that keeps the store and the results"
        )
