"""Fine-tuning a network on instructions: from two splits to a saved language model."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from components.conversations import HISTORY, Entry
from components.core.errors import ConfigError
from components.core.records import Facts, Logger
from components.models.architecture import make_network
from components.models.config import LoraConfig, ModelConfig
from components.models.devices import autocast, pick_device, pick_precision
from components.models.language_model import LanguageModel
from components.models.lora import merge_adapters
from components.models.pretrained.turns import Prompt, encode_fitting
from components.models.saved.card import CLASSIFIER, kind_of
from components.models.saved.language_model import save_gpt
from components.models.tokenizer import Tokenizer, encode_answers, end_of_answer
from components.models.weights import make_gpt
from components.prompts import AnyTemplate, PromptConfig
from components.training import fine_tuning
from components.training.batching import CutSplits, read_chunks
from components.training.config import InstructionTrainConfig
from components.training.fine_tuning import Sampler, Splits, Start
from components.training.frozen_weights import restore_frozen, round_frozen
from components.training.history import Evaluation, Sample, Step
from components.training.objectives.instruction import Entries, Instruction

Respond = Callable[[LanguageModel, Tokenizer, AnyTemplate, Entry], str]
"""How a language model answers an entry; generation is another component's."""

ENTRY = ("instruction", "input", "output", HISTORY)
"""The columns of a split that are learnt from, of which the last is not in every table."""


def fine_tune(
    splits: Splits,
    prompt: PromptConfig,
    start: Start,
    config: InstructionTrainConfig,
    logger: Logger,
    respond: Respond,
    out: Path,
) -> Facts:
    """Fine-tune a language model and write it to `out/model`, with its history beside.

    Writes `steps.parquet` (loss, gradient norm and learning rate of a step), `history.parquet` (evaluations) and
    `samples.parquet` (what it answers to the first entry of the validation split at each of them). Adapters are merged
    into the model, unless they alone are kept, and left as `adapter/` too. Same inputs, seed and machine: same weights,
    bit by bit.

    It goes on from a checkpoint, and what an interruption or an error leaves, is as `fine_tuning.train_to_end` says.

    Raises:
        ConfigError: if the options do not fit the data or the machine, or nothing would be learnt.
        TrainingError: if the loss is not a finite number.
        WeightsError: if the starting weights do not fit the model.
    """
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    encoding = start.tokenizer()
    _refuse_classifier(start.weights)
    template = prompt.resolved(encoding)
    data = prepare(*splits, template, encoding, config, start.model.shape.context)
    with fine_tuning.prepared(config):
        gpt = build_gpt(start.model, start.lora, config, encoding.n_vocab, precision, start.weights).to(device)
        end = end_of_answer(encoding, template)
        objective = Instruction(gpt, data.train, data.validation, config, device, precision, end)

        def write(folder: Path, _steps: Sequence[Step]) -> None:
            base = fine_tuning.keep_adapter(gpt, start, config, folder)
            if base is None:
                restore_frozen(gpt, lambda: make_gpt(start.model, encoding.n_vocab, start.weights, config.seed))
                merge_adapters(gpt.transformer)
            save_gpt(folder, gpt.cpu(), encoding, template, base)

        parameters = fine_tuning.count_parameters(gpt)
        sample = _sampler(objective, encoding, template, respond, splits.validation)
        facts, history = fine_tuning.learn(objective, splits, write, out, logger, sample)
    losses = {each.step: each.validation_loss for each in history.evaluations}
    loss = losses.get(facts["kept_step"])
    return {
        **parameters,
        **facts,
        "tokens_seen": history.steps[-1].tokens_seen,
        "initial_validation_loss": history.evaluations[0].validation_loss if losses else None,
        "validation_loss": loss,
        "validation_perplexity": math.exp(loss) if loss is not None else None,
        "template": prompt.name,
        "longest_train_tokens": data.longest,
        "max_length": data.limit,
        "truncated_rows": data.truncated,
        "cut_conversations": {"train": data.train.cut_conversations, "validation": data.validation.cut_conversations},
        "trained_token_share": data.train.trained_share(config.mask_prompt),
    }


def _refuse_classifier(weights: Path | None) -> None:
    if weights and kind_of(weights) == CLASSIFIER:
        raise ConfigError(
            "model.weights is a classifier, whose last blocks have learnt to feed its head and no longer write; "
            "name a language model, such as the one that it was made from"
        )


def prepare(
    train: Path,
    validation: Path,
    template: AnyTemplate,
    encoding: Tokenizer,
    config: InstructionTrainConfig,
    context: int,
) -> CutSplits[Entries]:
    """Tokenise both splits, and decide how long entries are.

    Raises:
        ConfigError: if `max_length` exceeds the context, or leaves nothing of any response.
    """
    limit = fine_tuning.longest_allowed(config, context)
    with_said = config.mask_prompt and config.learn == "assistant"
    tables = {"train": train, "validation": validation}
    entries = {name: tokenise(table, template, encoding, limit, with_said) for name, table in tables.items()}
    cut = {name: rows.cut(limit) for name, rows in entries.items()}
    trained = {name: int(rows.trained(config.mask_prompt).sum()) for name, rows in cut.items()}
    for name, count in trained.items():
        if not count:
            raise ConfigError(
                f"nothing can be learnt: every target of the {len(cut[name]):,} {name} entries is masked, since no "
                f"prompt leaves room for a response within {limit:,} tokens; raise train.max_length, or set "
                "train.mask_prompt=false"
            )
    return CutSplits(**cut, limit=limit, longest=int(entries["train"].lengths.max()))


def tokenise(
    path: Path, template: AnyTemplate, encoding: Tokenizer, limit: int | None = None, with_said: bool = False
) -> Entries:
    """Read a split, some thousand rows at a time, and encode its prompts and completions.

    They are encoded apart, as generation has to: it sees the prompt alone. Conversations of more than `limit` tokens
    are cut from the front by whole turns.

    Raises:
        ConfigError: if what an assistant said before is to be told apart (`with_said`), and cannot be.
    """

    def pairs() -> Iterator[tuple[Prompt, list[int]]]:
        names = pq.read_schema(path).names
        for batch in read_chunks(path, [name for name in ENTRY if name in names]):
            rows = batch.to_pylist()
            completions = encode_answers(encoding, template, [row["output"] for row in rows])
            rooms = [limit and limit - len(completion) for completion in completions]
            prompts = encode_fitting(encoding, template, map(Entry.of, rows), rooms, with_said=with_said)
            yield from zip(prompts, completions, strict=True)

    return Entries.of_prompts(pairs())


def build_gpt(
    model: ModelConfig,
    lora: LoraConfig,
    config: InstructionTrainConfig,
    vocab_size: int,
    precision: str = "fp32",
    weights: Path | None = None,
    outline: bool = False,
) -> LanguageModel:
    """Return the language model that training in a precision starts from, on the CPU, the part that trains unfrozen.

    For an `outline` see `components.training.classification.build_classifier`.

    Raises:
        WeightsError: if `weights` do not fit the model.
    """
    if outline:
        gpt = LanguageModel(make_network(model.shape, vocab_size, model.dropout), model.tied)
    else:
        gpt = make_gpt(model, vocab_size, weights, config.seed)
    gpt.transformer.recompute = config.gradient_checkpointing
    fine_tuning.unfrozen(gpt, lora, config)
    if precision == "bf16":
        round_frozen(gpt)
    return gpt


def _sampler(
    objective: Instruction, encoding: Tokenizer, template: AnyTemplate, respond: Respond, validation: Path
) -> Sampler:
    """Return what asks the model for its response to the first entry of the validation split."""
    entry = next(pq.ParquetFile(validation).iter_batches(1)).to_pylist()[0]

    def sample(evaluation: Evaluation) -> Sample:
        # Whatever precision it answers in by itself, weights may be rounded already.
        with autocast(objective.device, objective.precision):
            response = respond(objective.model, encoding, template, Entry.of(entry))
        asked = {name: entry[name] for name in ("row", "instruction", "input")}
        return Sample(evaluation.step, evaluation.epoch, **asked, reference=entry["output"], response=response)

    return sample
