"""The instruction flow: from a file of instructions and responses to a registered, judged language model."""

from prefect import flow

from components.core.errors import JudgeError
from components.reporting.evidence import counted_of_instructions
from components.reporting.instruction import evidence, findings, response_rows
from components.tasks import download, fetch_weights
from components.tasks.instruction import (
    answer_validation,
    evaluate,
    fine_tune,
    judge,
    look_ahead,
    report_failed_judging,
    respond,
    respond_before,
    split,
    validate,
)
from components.tasks.results import Results
from components.tracking.registry.publishing import publish_language_model
from pipelines.kinds.instruction import DECIDES
from pipelines.kinds.instruction.config import InstructionConfig
from pipelines.prefect_runs import record_process
from pipelines.run import RunSummary, recorded

RESULTS = Results(counted_of_instructions, findings, evidence, publish_language_model, response_rows, decides=DECIDES)


@flow(name="instruction", flow_run_name="{config.run_name}", persist_result=False, on_running=[record_process])
def instruction(config: InstructionConfig) -> RunSummary:
    """Download, validate, split, fine-tune, respond, judge, evaluate, log and register, as one MLflow run."""
    prompt, model, train, generation = config.prompt, config.model, config.train, config.generation
    with recorded(config) as run:
        source = run.step(download, config.source)
        table = run.step(validate, source, config.validation, prompt, model)
        splits = run.step(split, table, config.split)
        weights = run.step(fetch_weights, model)
        look_ahead(weights, prompt, config.judge, splits)
        trained = run.step(fine_tune, splits, weights, prompt, model, train, config.lora, run.id)
        if config.answer_validation:
            run.step(answer_validation, splits, trained, generation, train.device)
        responses = run.step(respond, splits, trained, generation, train.device)
        before = run.step(respond_before, splits, weights, prompt, model, generation, train.device, train.seed)
        try:
            verdicts = run.step(judge, responses, before, prompt, config.judge)
        except JudgeError as error:
            report_failed_judging(run.id, responses, error.evidence)
            raise
        run.step(evaluate, splits, responses, before, verdicts, weights, run.names)
        run.finish(RESULTS)
    return run.summary()


FLOW = instruction
