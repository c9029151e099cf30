"""The tasks of the instruction flow."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from components.chat import ChatTemplate
from components.conversations import Entry
from components.core.home import mirror
from components.core.records import Facts, Manifest
from components.core.steps import identify, run_logger, step
from components.data.split.config import InstructionSplitConfig
from components.data.validation.rules import InstructionValidationConfig, of_a_trial
from components.generation.config import GenerationConfig
from components.judging.config import SERVERS, JudgeConfig
from components.models.config import LoraConfig, ModelConfig
from components.prompts import AnyTemplate, PromptConfig
from components.tasks import shared
from components.tasks.shared import DAY, HOUR, weights_folder
from components.training.config import InstructionTrainConfig

if TYPE_CHECKING:
    from components.models.language_model import LanguageModel
    from components.models.tokenizer import Tokenizer

SAMPLE_TOKENS = 64
"""Most tokens of a sample response while training."""
RESPONSES = "responses.parquet"


def _validation_identity(arguments: Mapping[str, Any]) -> Any:
    from components.models.tokenizer import vocabulary_identity

    model: ModelConfig = arguments["model"]
    model.shape.check_writes()
    read = {"context": model.shape.context, "vocabulary": vocabulary_identity(model.tokenizer)}
    return identify({**arguments, "model": read})


@step("components.data.validation.instructions", identity=_validation_identity, timeout_seconds=HOUR)
def validate(
    out: Path, source: Manifest, rules: InstructionValidationConfig, prompt: PromptConfig, model: ModelConfig
) -> Facts:
    """Check a table with Great Expectations: `table.parquet` (what is used), `rejected.parquet`, `report.json/.html`.

    How long an entry is in tokens depends on `prompt` and `model`. Raises `DataRejected` where an expectation of
    severity `error` is not met.
    """
    from components.data.validation.instructions import validate_instructions
    from components.models.tokenizer import load_tokenizer

    template = prompt.resolved(load_tokenizer(model.tokenizer, mirror()))
    table = source.path("table.parquet")
    rules = of_a_trial(rules) if source.facts.get("limit") else rules
    return validate_instructions(table, rules, template, model.tokenizer, mirror(), model.shape.context, out)


@step("components.data.split.instructions", timeout_seconds=HOUR)
def split(out: Path, table: Manifest, config: InstructionSplitConfig = InstructionSplitConfig()) -> Facts:
    """Deal a validated table to `train.parquet`, `validation.parquet` and `test.parquet`."""
    from components.data.split.instructions import split_instructions

    return split_instructions(table.path("table.parquet"), config, out)


@step(
    "components.training.instruction",
    identity=shared.training_identity,
    timeout_seconds=7 * DAY,
    unkeyed=("run_id",),
    out_of_memory=f"{shared.SMALLER_BATCHES} or train.gradient_checkpointing=true",
)
def fine_tune(
    out: Path,
    splits: Manifest,
    weights: Manifest,
    prompt: PromptConfig,
    model: ModelConfig,
    train: InstructionTrainConfig,
    lora: LoraConfig = LoraConfig(),
    run_id: str | None = None,
) -> Facts:
    """Fine-tune a language model: `model/`, `history.parquet`, `steps.parquet`, `samples.parquet` (what it answers).

    Curves go to the MLflow run `run_id`. What an interruption leaves is kept beside, and so are the rows that made a
    loss infinite.
    """
    from components.training.fine_tuning import Splits, Start
    from components.training.instruction import fine_tune as block

    tables = Splits(splits.path("train.parquet"), splits.path("validation.parquet"))
    start = Start(model, weights_folder(weights), lora, mirror())
    with shared.training_logger(run_id, splits, weights) as logger:
        return block(tables, prompt, start, train, logger, _sample_response, out)


def _sample_response(model: "LanguageModel", encoding: "Tokenizer", template: AnyTemplate, entry: Entry) -> str:
    from components.generation.answers import answer

    config = GenerationConfig(max_new_tokens=SAMPLE_TOKENS)
    return answer(model, encoding, template, [entry], config, weights="lent")[0].response


def _response_identity(arguments: Mapping[str, Any]) -> Any:
    """Return what responses depend on: what `auto` came to, and of the model to start from not how it would train."""
    computed = shared.computed_on(arguments["device"], arguments["config"].precision)
    config = arguments["config"].model_copy(update={"precision": computed["precision"]})
    found = {**arguments, "config": config, "device": computed["device"]}
    if "model" in found:
        seed = None if found["weights"].files else found["seed"]
        found |= {"model": shared.network_identity(found["model"], {"dropout"}), "seed": seed}
    return identify(found)


@step(
    "components.generation.responses",
    "components.models.saved.language_model",
    identity=_response_identity,
    timeout_seconds=2 * DAY,
    out_of_memory=shared.FEWER_PROMPTS,
)
def respond(
    out: Path, splits: Manifest, trained: Manifest, config: GenerationConfig = GenerationConfig(), device: str = "auto"
) -> Facts:
    """Let the fine-tuned model answer the test split: `responses.parquet`, `instruction-data-with-response.json`.

    It is written batch by batch; after an interruption the next run goes on from there.
    """
    return _answer(splits.path("test.parquet"), trained, config, device, out)


def _answer(entries: Path, trained: Manifest, config: GenerationConfig, device: str, out: Path) -> Facts:
    """Let the fine-tuned model answer a split."""
    from components.generation.responses import respond as block
    from components.models.devices import pick_device
    from components.models.saved.language_model import load_gpt

    loaded = load_gpt(trained.folder / "model")
    own = (loaded.model, loaded.encoding, loaded.card.template)
    return block(entries, *own, config, pick_device(device), out, weights="taken")


@step(
    "components.generation.responses",
    "components.models.saved.language_model",
    "components.judging.lexical",
    identity=_response_identity,
    timeout_seconds=2 * DAY,
    out_of_memory=shared.FEWER_PROMPTS,
)
def answer_validation(
    out: Path, splits: Manifest, trained: Manifest, config: GenerationConfig = GenerationConfig(), device: str = "auto"
) -> Facts:
    """Let the fine-tuned model answer the validation split, and return how alike its responses are to the references.

    Recipes can be chosen by it whose losses mean different things, since they have other prompts, or learn them too.
    """
    import pandas as pd

    from components.judging.lexical import Measures, measure

    _answer(splits.path("validation.parquet"), trained, config, device, out)
    table = pd.read_parquet(out / RESPONSES, columns=["model_response", "output"])
    measures = list(measure(list(zip(table["model_response"], table["output"], strict=True))))
    return {name: fmean(getattr(each, name) for each in measures) for name in Measures._fields}


@step(
    "components.generation.responses",
    "components.models.weights",
    identity=_response_identity,
    timeout_seconds=2 * DAY,
    out_of_memory=shared.FEWER_PROMPTS,
)
def respond_before(
    out: Path,
    splits: Manifest,
    weights: Manifest,
    prompt: PromptConfig,
    model: ModelConfig,
    config: GenerationConfig = GenerationConfig(),
    device: str = "auto",
    seed: int = 123,
) -> Facts:
    """Let the model that training starts from answer the test split; `seed` is that of random weights."""
    from components.generation.responses import respond as block
    from components.models.devices import pick_device
    from components.models.tokenizer import load_tokenizer
    from components.models.weights import make_gpt

    encoding = load_tokenizer(model.tokenizer, mirror())
    start = make_gpt(model, encoding.n_vocab, weights_folder(weights), seed).eval()
    entries, template = splits.path("test.parquet"), prompt.resolved(encoding)
    return block(entries, start, encoding, template, config, pick_device(device), out, weights="taken")


def _judging_identity(arguments: Mapping[str, Any]) -> Any:
    from components.judging.identity import judge_identity

    return identify({**arguments, "config": judge_identity(arguments["config"])})


@step(
    "components.judging.judge",
    *(server.client.partition(":")[0] for server in SERVERS.values()),
    identity=_judging_identity,
    timeout_seconds=2 * DAY,
)
def judge(
    out: Path, responses: Manifest, before: Manifest, prompt: PromptConfig, config: JudgeConfig = JudgeConfig()
) -> Facts:
    """Let a judge give scores to both models' responses and to the references: `verdicts.parquet`, `rubric.yaml`.

    On some rows it judges another row's reference too: `control.parquet`, whether it can tell good from bad. It is
    shown each task in the words of `prompt`, as the models were. A verdict is kept as soon as it is made, and not asked
    for again. Raises `JudgeError` if the judge cannot be asked, or too few of its replies can be read.
    """
    from components.judging.cache import verdicts_path
    from components.judging.judge import judge as block

    tables = {"model": responses.path(RESPONSES), "start": before.path(RESPONSES)}
    return block(tables, config, prompt.text, verdicts_path(), out, run_logger().info)


@step("components.evaluation.instruction", "components.data.split.row_index", timeout_seconds=HOUR)
def evaluate(
    out: Path,
    splits: Manifest,
    responses: Manifest,
    before: Manifest,
    verdicts: Manifest,
    weights: Manifest | None = None,
    flow: tuple[str, ...] = (),
) -> Facts:
    """Sum up the verdicts, before and after, by task: `metrics.json`, `responses.parquet`, `tasks.parquet`.

    Test rows that an earlier model was trained on, where `weights` are one's, are in no figure; `flow` is what runs say
    they are of whose rows can be matched with these. `learned.parquet` are hashes of the training rows.
    """
    from components.data.split.row_index import index_instructions
    from components.evaluation.instruction import evaluate_responses

    tables = {"model": responses.path(RESPONSES), "start": before.path(RESPONSES)}
    table = verdicts.path("verdicts.parquet")
    unseen = shared.unseen_rows(out, splits, index_instructions, weights, flow)
    return evaluate_responses(splits.path("train.parquet"), tables, table, verdicts.facts, out, unseen)


@task(timeout_seconds=HOUR, cache_policy=NO_CACHE)
def look_ahead(weights: Manifest, prompt: PromptConfig, judge: JudgeConfig, splits: Manifest) -> None:
    """Say before anything is trained what will be missed after it: the judge, or the prompt that the weights know.

    Raises `JudgeError` where the judge's limits do not allow what it will surely be asked.
    """
    from components.core.errors import JudgeError
    from components.judging.cache import verdicts_path
    from components.judging.forecast import refuse_before_training
    from components.judging.identity import judge_identity
    from components.judging.spending import LimitReached
    from components.models.saved.language_model import saved_template

    folder = weights_folder(weights)
    known = saved_template(folder) if folder else None
    asked = _template(prompt, folder) if known else None
    if known != asked:
        talk = isinstance(known, ChatTemplate) and isinstance(asked, ChatTemplate) and known.jinja == asked.jinja
        key = "system" if talk else "template"
        run_logger().warning(
            f"the model to start from was trained with another prompt.{key}: its own responses will suffer from it"
        )
    try:
        refuse_before_training(splits.path("test.parquet"), judge, prompt.text, verdicts_path())
        judge_identity(judge)
    except LimitReached:
        raise
    except JudgeError as error:
        run_logger().warning(f"{error}: it will be asked after training")


def _template(prompt: PromptConfig, folder: Path | None) -> AnyTemplate:
    from components.models.tokenizer import read_tokenizer

    return prompt.resolved(read_tokenizer(folder) if folder else None)


@task(timeout_seconds=HOUR, cache_policy=NO_CACHE)
def report_failed_judging(run_id: str, responses: Manifest, evidence: Path | None) -> None:
    """Log the responses that were to be judged, and the verdicts so far, to MLflow, in `failed/`."""
    shared.log_failed(run_id, [responses.path(RESPONSES), *(evidence.glob("*") if evidence else ())])
