"""Fine-tuning a GPT on instructions: from two splits to a saved language model."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import tiktoken

from components.core.errors import ConfigError
from components.core.records import Facts, Logger
from components.models.config import LoraConfig, ModelConfig
from components.models.devices import autocast, pick_device, pick_precision
from components.models.fast.compiled import compile_blocks
from components.models.language_model import LanguageModel
from components.models.lora import merge_adapters
from components.models.saved.card import CLASSIFIER, kind_of
from components.models.saved.language_model import save_gpt
from components.models.tokenizer import encode, end_of_text, load_tokenizer
from components.models.weights import make_gpt
from components.prompts import PromptConfig, Template
from components.training.checkpoint import BEST
from components.training.config import InstructionTrainConfig, rows_per_step
from components.training.frozen_weights import restore_frozen, round_frozen
from components.training.history import Evaluation, Sample, write_history
from components.training.keeping import keep, stopped_early, train_to_end
from components.training.loop import Trainer, tokens_in_all, total_steps
from components.training.objectives.instruction import Entries, Instruction
from components.training.outline import language_model_to_train
from components.training.preparing import check_vocabulary, count_parameters, prepared
from components.training.progress import training_bar

CHUNK = 8192
"""Rows of a split that are read and encoded at once."""

Respond = Callable[[LanguageModel, tiktoken.Encoding, Template, str, str], str]
"""How a language model answers an instruction and its input; generation is another component's."""


def fine_tune(
    train: Path,
    validation: Path,
    prompt: PromptConfig,
    model: ModelConfig,
    config: InstructionTrainConfig,
    weights: Path | None,
    mirror: Path | None,
    logger: Logger,
    respond: Respond,
    out: Path,
    lora: LoraConfig | None = None,
) -> Facts:
    """Fine-tune a language model and write it to `out/model`, with its history beside.

    Writes `steps.parquet` (loss, gradient norm and learning rate of a step), `history.parquet` (evaluations) and
    `samples.parquet` (what it answers to the first entry of the validation split at each of them). Adapters are merged
    into the model. Same inputs, seed and machine: same weights, bit by bit.

    What an interruption or an error leaves is as with `components.training.classification.fine_tune`.

    Raises:
        ConfigError: if the options do not fit the data or the machine, or nothing would be learnt.
        TrainingError: if the loss is not a finite number.
        WeightsError: if `weights` do not fit the model.
    """
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    encoding = load_tokenizer(model.vocabulary, mirror)
    check_vocabulary(weights, encoding)
    _refuse_classifiers(weights)
    template = prompt.resolved
    data = prepare(train, validation, template, encoding, config, model.shape.context)
    with prepared(config), training_bar(total_steps(config, len(data.train)), config.epochs) as progress:
        gpt = build_gpt(model, lora or LoraConfig(), config, encoding.n_vocab, weights).to(device)
        if precision == "bf16":
            round_frozen(gpt)
        compiled = compile_blocks(gpt.transformer, config.compile, device, tokens_in_all(config, data.train))
        objective = Instruction(gpt, data.train, data.validation, config, device, precision, end=end_of_text(encoding))
        trainer = Trainer(
            gpt,
            objective,
            config,
            device,
            logger,
            progress,
            best=out / BEST if config.keep == "best" else None,
            sample=_Sampler(gpt, encoding, template, respond, validation, precision),
        )
        parameters = count_parameters(gpt)
        begun = partial(make_gpt, model, encoding.n_vocab, weights, config.seed)
        save = partial(_save, trainer, gpt, begun, encoding, template, out)
        kept = train_to_end(trainer, {"train": train, "validation": validation}, save, out)
    return {
        **kept,
        "template": prompt.name,
        "longest_train_tokens": data.longest,
        "max_length": data.limit,
        "truncated_rows": data.truncated,
        "trained_token_share": data.trained_share,
        "batch_size": config.batch_size,
        "rows_per_step": rows_per_step(config),
        **parameters,
        "device": device.type,
        "precision": precision,
        "fast": config.fast,
        "compiled": compiled,
    }


@dataclass(frozen=True)
class Prepared:
    """Both splits as the network gets them."""

    train: Entries
    validation: Entries
    limit: int
    """Tokens that an entry is cut to."""
    longest: int
    """Tokens of the longest training entry, before it is cut."""
    truncated: dict[str, int]
    """How many entries of each split lose tokens, or their end."""
    trained_share: float
    """Share of the tokens of the training split from which something is learnt."""


def prepare(
    train: Path,
    validation: Path,
    template: Template,
    encoding: tiktoken.Encoding,
    config: InstructionTrainConfig,
    context: int,
) -> Prepared:
    """Tokenise both splits, and settle how long entries are.

    Raises:
        ConfigError: if `max_length` exceeds the context, or leaves nothing of any response.
    """
    if config.max_length is not None and config.max_length > context:
        raise ConfigError(
            f"train.max_length={config.max_length} is more than the model's context: set it to {context} tokens or less"
        )
    limit = config.max_length or context
    splits = {"train": tokenise(train, template, encoding), "validation": tokenise(validation, template, encoding)}
    cut = {name: entries.cut(limit) for name, entries in splits.items()}
    for name, entries in cut.items():
        if not entries.trained(config.mask_prompt).any():
            raise ConfigError(
                f"nothing can be learnt: every target of the {len(entries):,} {name} entries is masked, since no "
                f"prompt leaves room for a response within {limit:,} tokens; raise train.max_length, or set "
                "train.mask_prompt=false"
            )
    trained = int(cut["train"].trained(config.mask_prompt).sum())
    return Prepared(
        train=cut["train"],
        validation=cut["validation"],
        limit=limit,
        longest=int(splits["train"].lengths.max()),
        truncated={name: int((entries.lengths > limit).sum()) for name, entries in splits.items()},
        trained_share=trained / int(cut["train"].lengths.sum()),
    )


def tokenise(path: Path, template: Template, encoding: tiktoken.Encoding) -> Entries:
    """Read a split, some thousand rows at a time, and encode its prompts and completions.

    They are encoded apart, as generation has to: it sees the prompt alone.
    """

    def pairs() -> Iterator[tuple[list[int], list[int]]]:
        for batch in pq.ParquetFile(path).iter_batches(CHUNK, columns=["instruction", "input", "output"]):
            rows = batch.to_pylist()
            prompts = encode(encoding, [template.prompt(row["instruction"], row["input"]) for row in rows])
            completions = encode(encoding, [template.completion(row["output"]) for row in rows])
            yield from zip(prompts, completions, strict=True)

    return Entries.of(pairs())


def build_gpt(
    model: ModelConfig, lora: LoraConfig, config: InstructionTrainConfig, vocab_size: int, weights: Path | None
) -> LanguageModel:
    """Return the language model that training starts from, on the CPU, with the part that trains unfrozen.

    Raises:
        WeightsError: if `weights` do not fit the model.
    """
    return language_model_to_train(make_gpt(model, vocab_size, weights, config.seed), lora, config)


def _refuse_classifiers(weights: Path | None) -> None:
    if weights and kind_of(weights) == CLASSIFIER:
        raise ConfigError(
            "model.weights is a classifier, whose last blocks have learnt to feed its head and no longer write; "
            "name a language model, such as the one that it was made from"
        )


class _Sampler:
    """Asks the model for its response to the first entry of the validation split, whenever it is evaluated."""

    def __init__(
        self,
        model: LanguageModel,
        encoding: tiktoken.Encoding,
        template: Template,
        respond: Respond,
        validation: Path,
        precision: str,
    ) -> None:
        self.model, self.encoding, self.template, self.respond = model, encoding, template, respond
        self.precision = precision
        self.entry = next(pq.ParquetFile(validation).iter_batches(1)).to_pylist()[0]

    def __call__(self, evaluation: Evaluation) -> Sample:
        entry = self.entry
        # Whatever precision it answers in by itself, weights may be rounded already.
        with autocast(self.model.head.device, self.precision):
            response = self.respond(self.model, self.encoding, self.template, entry["instruction"], entry["input"])
        return Sample(
            step=evaluation.step,
            epoch=evaluation.epoch,
            row=entry["row"],
            instruction=entry["instruction"],
            input=entry["input"],
            reference=entry["output"],
            response=response,
        )


def _save(
    trainer: Trainer,
    gpt: LanguageModel,
    begun: Callable[[], LanguageModel],
    encoding: tiktoken.Encoding,
    template: Template,
    out: Path,
) -> Facts:
    """Write the model that is kept, and the history; return what was kept of which steps.

    `begun` makes the network with which training began, without adapters.
    """
    history = trainer.history
    kept = keep(trainer.config, history, gpt, trainer.best)
    restore_frozen(gpt, begun)
    merge_adapters(gpt.transformer)
    (out / "model").mkdir()
    save_gpt(out / "model", gpt.cpu(), encoding, template)
    write_history(history, out)
    return {**kept, "stopped_early": stopped_early(trainer), **_figures(trainer, kept["kept_step"])}


def _figures(trainer: Trainer, kept: int) -> Facts:
    """Return the losses at the start and of the weights that are kept, where there was an evaluation."""
    evaluations = trainer.history.evaluations
    at_kept = next((each for each in evaluations if each.step == kept), None)
    loss = at_kept.validation_loss if at_kept else None
    return {
        "tokens_seen": trainer.history.steps[-1].tokens_seen,
        "initial_validation_loss": evaluations[0].validation_loss if evaluations else None,
        "validation_loss": loss,
        "validation_perplexity": math.exp(loss) if loss is not None else None,
    }
