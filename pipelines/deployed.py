"""The flows as deployments start them: with plain parameters, on a machine that a worker chose."""

import os
from pathlib import Path
from typing import Any, TypeVar

from prefect import State, flow
from prefect.states import Failed

from components.core.errors import ConfigError, GradusError
from components.core.home import keep_files_private
from components.core.redaction import protect_logs
from components.core.steps import run_logger
from components.tracking.runs import describe_error
from pipelines.classification import classification
from pipelines.config import AnyConfig, ClassificationConfig, InstructionConfig, load_config
from pipelines.instruction import instruction
from pipelines.prefect_runs import record_process
from pipelines.summary import RunSummary

Kind = TypeVar("Kind", bound=AnyConfig)


@flow(name="classification", flow_run_name="{preset}", persist_result=False, on_running=[record_process])
def run_preset(preset: str, overrides: list[str] = []) -> RunSummary | State[Any]:  # noqa: B006 - Prefect shows it
    """Run a preset that trains a classifier; `gradus run PRESET --set ...` as a deployment.

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
        return classification.fn(_load(ClassificationConfig, preset, overrides))
    except GradusError as error:
        return _failed(error)


@flow(name="instruction", flow_run_name="{preset}", persist_result=False, on_running=[record_process])
def run_instruction_preset(preset: str, overrides: list[str] = []) -> RunSummary | State[Any]:  # noqa: B006
    """Run a preset that trains a language model on instructions; all else is as with `run_preset`."""
    try:
        return instruction.fn(_load(InstructionConfig, preset, overrides))
    except GradusError as error:
        return _failed(error)


def _load(kind: type[Kind], preset: str, overrides: list[str]) -> Kind:
    """Return the config of a preset, if it is of the flow that was deployed.

    Raises:
        ConfigError: if it is not, or nothing would be kept of its run.
    """
    _require_lasting_home()
    keep_files_private()
    protect_logs()
    config = load_config(preset, overrides)
    if not isinstance(config, kind):
        other = "run_instruction_preset" if isinstance(config, InstructionConfig) else "run_preset"
        raise ConfigError(f"{preset} is a preset of the {config.pipeline} flow; deploy pipelines.deployed.{other}")
    return config


def _failed(error: GradusError) -> State[Any]:
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
