"""The instruction flow: from a file of instructions and responses to a registered, judged language model."""

from prefect import flow

from components.core.errors import DataRejected, JudgeError, TrainingError
from components.core.home import home
from components.core.records import Manifest
from components.core.steps import run_logger
from components.tasks import download, fetch_weights, report_failed_training, report_validation
from components.tasks.instruction import (
    evaluate,
    fine_tune,
    judge,
    log_results,
    look_ahead,
    register,
    report_failed_judging,
    respond,
    respond_before,
    split,
    validate,
)
from components.tracking.registry.lineage import log_lineage
from components.tracking.runs import Run, open_run
from pipelines.kinds.instruction.config import InstructionConfig
from pipelines.prefect_runs import record_process
from pipelines.summary import RunSummary, say_warnings, say_what_was_cached


@flow(name="instruction", flow_run_name="{config.name}", persist_result=False, on_running=[record_process])
def instruction(config: InstructionConfig) -> RunSummary:
    """Download, validate, split, fine-tune, respond, judge, evaluate, log and register, as one MLflow run."""
    tracking, device, seed = config.tracking, config.train.device, config.train.seed
    with open_run(tracking, home(), config.name, config.recorded(), {"gradus.preset": config.name}) as run:
        log_lineage(run, config.model.weights, home())
        steps = {"download": download(config.source)}
        steps["validate"] = _validate(run, steps["download"], config)
        steps["split"] = split(steps["validate"], config.split)
        say_warnings(steps["split"])
        steps["fetch_weights"] = fetch_weights(config.model)
        look_ahead(steps["fetch_weights"], config.prompt, config.judge)
        steps["fine_tune"] = _fine_tune(run, steps["split"], steps["fetch_weights"], config)
        steps["respond"] = respond(steps["split"], steps["fine_tune"], config.generation, device)
        steps["respond_before"] = respond_before(
            steps["split"], steps["fetch_weights"], config.prompt, config.model, config.generation, device, seed
        )
        steps["judge"] = _judge(run, steps["respond"], steps["respond_before"], config)
        steps["evaluate"] = evaluate(
            steps["split"], steps["respond"], steps["respond_before"], steps["judge"], steps["fetch_weights"]
        )
        _say_what_came_of_it(steps["evaluate"])
        log_results(run.run_id, steps)
        model = register(run.run_id, steps, tracking.model_name)
        say_what_was_cached(run, steps, model["cached_from"])
    return RunSummary.of(run, steps)


FLOW = instruction


def _validate(run: Run, source: Manifest, config: InstructionConfig) -> Manifest:
    """Validate, and leave the report where people look, all the more if the data was rejected."""
    try:
        table = validate(source, config.validation, config.prompt, config.model)
    except DataRejected as error:
        if error.evidence:
            report_validation(run.run_id, error.evidence)
        raise
    report_validation(run.run_id, table.folder)
    return table


def _fine_tune(run: Run, splits: Manifest, weights: Manifest, config: InstructionConfig) -> Manifest:
    """Fine-tune, and leave the rows of the step that failed where people look."""
    try:
        return fine_tune(splits, weights, config.prompt, config.model, config.train, config.lora, run.run_id)
    except TrainingError as error:
        if error.evidence:
            report_failed_training(run.run_id, error.evidence)
        raise


def _judge(run: Run, responses: Manifest, before: Manifest, config: InstructionConfig) -> Manifest:
    """Judge, and leave responses and verdicts where people look, all the more if the judge failed."""
    try:
        return judge(responses, before, config.prompt, config.judge)
    except JudgeError as error:
        report_failed_judging(run.run_id, responses, error.evidence)
        raise


def _say_what_came_of_it(scores: Manifest) -> None:
    run_logger().info(scores.facts["verdict"])
    for warning in scores.facts["warnings"]:
        run_logger().warning(warning)
