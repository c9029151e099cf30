"""The flows as deployments start them: with plain parameters, on a machine that a worker chose.

`run_preset` is that of the kind that presets are of by default, `run_<kind>_preset` that of every other one.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from prefect import Flow, State, flow
from prefect.runtime import flow_run
from prefect.states import Cancelled, Crashed, Failed

from components.core.errors import ConfigError, GradusError
from components.core.home import keep_files_private
from components.core.redaction import protect_logs
from components.core.steps import run_logger
from components.tracking.runs import describe_error
from pipelines.config import PipelineConfig, load_config
from pipelines.kinds import DEFAULT, KINDS, flow_of
from pipelines.prefect_runs import record_process
from pipelines.run import RunSummary
from pipelines.service.turns import SlotLost, leave_if_alone, leave_if_taken_over, times_begun, was_cancelled

ATTEMPTS = 3
"""How often a run is begun whose process or machine was lost each time: it may be the run that loses it."""

Deployed = Flow[..., RunSummary | State[Any]]
Done = TypeVar("Done")


def deployed(kind: str) -> Deployed:
    """Return the flow of a kind that runs a preset: `gradus run PRESET --set ...` as a deployment."""

    def run(preset: str, overrides: list[str] = []) -> RunSummary | State[Any]:  # noqa: B006 - Prefect shows it
        """Run a preset; `gradus run PRESET --set ...` as a deployment.

        It is one flow run, and stands with those of `gradus run` under the flow of its kind.

        Args:
            preset: a name from `gradus presets`, the absolute path of a YAML file on the worker's machine, or one that
                an MLflow run logged, such as `runs:/RUN/config.yaml`.
            overrides: what `--set` takes, such as `train.epochs=3`.

        Returns:
            What the run left; or, where it failed for a reason that Gradus knows, a failed state that says it in one
            line. Called from Python, the reason is raised.

        Raises:
            GradusError: what the kind's flow raises, and ConfigError for parameters or folders that cannot be used.
        """
        return in_one_line(lambda: flow_of(kind).fn(_load(kind, preset, overrides)))

    run.__name__ = run.__qualname__ = _entry(kind)  # by which Prefect finds it again
    return flow(name=kind, flow_run_name=_run_name, persist_result=False, on_running=[record_process])(run)


def _run_name() -> str:
    """Return what MLflow calls the run that Prefect starts; the preset as it was given where that cannot be read."""
    preset, overrides = (flow_run.parameters.get(name) for name in ("preset", "overrides"))
    try:
        return load_config(preset, overrides or ()).run_name
    except GradusError:
        return str(preset)


def _entry(kind: str) -> str:
    return "run_preset" if kind == DEFAULT else f"run_{kind}_preset"


def _load(kind: str, preset: str, overrides: list[str]) -> PipelineConfig:
    """Return the config of a preset, if it is of the flow that was deployed.

    Raises:
        ConfigError: if it is not.
    """
    config = load_config(preset, overrides)
    if config.pipeline != kind:
        entry = f"pipelines.deployed.{_entry(config.pipeline)}"
        raise ConfigError(f"{preset} is a preset of the {config.pipeline} flow; deploy {entry}")
    return config


def in_one_line(work: Callable[[], Done]) -> Done | State[Any]:
    """Do what a worker's flow does.

    Returns:
        What `work` does; or, where it fails for a reason that Gradus knows, a failed state that says it in one line, a
        crashed one where the server has stopped it. Called from Python, the reason is raised.

    Raises:
        Abort: if the run is another process's by now, or nobody is there to be told of it.
    """
    done: Done | State[Any]
    turn = times_begun()
    if turn > 1 and was_cancelled():
        return Cancelled(message="It was cancelled, and is not begun again: start a new run.")
    try:
        _prepare_worker(turn)
        done = work()
    except GradusError as error:
        message = describe_error(error)
        run_logger().error(message)
        if lost := isinstance(error, SlotLost):
            leave_if_alone()
        done = (Crashed if lost else Failed)(message=message, data=error)
    leave_if_taken_over(turn)
    return done


def _prepare_worker(turn: int) -> None:
    """Let nothing of a run be lost or seen that a worker started.

    Raises:
        ConfigError: if nothing would be kept of it.
        GradusError: if it has been begun too often.
    """
    if turn > ATTEMPTS:
        raise GradusError(
            f"this run has crashed {turn - 1} times, and is not begun again: its worker's log says what happened, "
            "often that memory ran out; start a new one when that is mended"
        )
    if not Path(os.environ.get("GRADUS_HOME", "")).expanduser().is_absolute():  # a worker deletes a run's own folder
        raise ConfigError(
            "GRADUS_HOME is not an absolute path where this run was started, and its working directory may be deleted: "
            "start the worker with GRADUS_HOME set to the folder that keeps the store and the results"
        )
    keep_files_private()
    protect_logs()


run_preset = deployed(DEFAULT)
globals().update({_entry(kind): deployed(kind) for kind in KINDS if kind != DEFAULT})
