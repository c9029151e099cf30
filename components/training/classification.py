"""Fine-tuning a GPT as a text classifier: from two splits to a saved model."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tiktoken
import torch

from components.core.errors import ConfigError
from components.core.records import Facts, Logger
from components.models.classifier import Classifier
from components.models.config import LoraConfig, ModelConfig
from components.models.devices import pick_device, pick_precision
from components.models.fast.compiled import compile_blocks
from components.models.fast.states import States, open_states
from components.models.lora import merge_adapters
from components.models.saved.classifier import save_classifier
from components.models.tokenizer import encode, end_of_text, load_tokenizer
from components.models.weights import make_transformer
from components.training.batching import Examples
from components.training.checkpoint import BEST
from components.training.config import TrainConfig, rows_per_step
from components.training.history import write_history
from components.training.keeping import keep, stopped_early, train_to_end
from components.training.loop import Trainer, tokens_in_all, total_steps
from components.training.objectives import Split
from components.training.objectives.classification import Classification
from components.training.objectives.features import Features
from components.training.outline import classifier_to_train
from components.training.preparing import check_vocabulary, count_parameters, prepared
from components.training.progress import training_bar
from components.training.used_rows import keep_used_rows, put_rows_back

CHUNK = 8192
"""Rows of a split that are read and encoded at once."""


def fine_tune(
    train: Path,
    validation: Path,
    labels: list[str],
    model: ModelConfig,
    config: TrainConfig,
    weights: Path | None,
    mirror: Path | None,
    logger: Logger,
    out: Path,
    lora: LoraConfig | None = None,
    class_weights: list[float] | None = None,
    frozen: Path | None = None,
) -> Facts:
    """Fine-tune a classifier and write it to `out/model`, with its history beside.

    `frozen` is the folder in which `components.training.frozen` has put what the blocks that do not train make of these
    very splits, if it has; without it they are computed in every step, with the same losses within rounding.

    Writes `steps.parquet` (loss, gradient norm and learning rate of a step) and `history.parquet` (evaluations), and
    `best.safetensors` where the last weights are the model but another step had a lower validation loss. Adapters are
    merged into the model. Same inputs, seed and machine: same weights, bit by bit.

    Every `train.checkpoint_minutes` a checkpoint is written to `out/checkpoint` (`components.training.checkpoints`);
    where one stands there at the start, training goes on from it. It is left there: whoever has the result in a safe
    place may delete it. An interruption leaves a checkpoint too, and the model so far in `out/model`; an error leaves a
    checkpoint, a loss that is not finite `batch.parquet`, its rows. The exception's `evidence` says so.

    Raises:
        ConfigError: if the options do not fit the data or the machine.
        TrainingError: if the loss is not a finite number.
        WeightsError: if `weights` do not fit the model.
    """
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    encoding = load_tokenizer(model.vocabulary, mirror)
    check_vocabulary(weights, encoding)
    data = prepare(train, validation, labels, encoding, config, model.shape.context)
    with prepared(config), training_bar(total_steps(config, len(data.train)), config.epochs) as progress:
        classifier = build_classifier(model, lora or LoraConfig(), config, len(labels), encoding.n_vocab, weights)
        objective = Classification(
            model=classifier.to(device),
            train=data.train,
            validation=data.validation,
            config=config,
            device=device,
            precision=precision,
            pad_id=end_of_text(encoding),
            length=data.length,
            class_weights=None if class_weights is None else torch.tensor(class_weights, device=device),
        )
        if frozen:
            objective = Features(**vars(objective), states=_read(frozen))
        parameters = count_parameters(classifier)
        compiled = compile_blocks(classifier.transformer, config.compile, device, tokens_in_all(config, data.train))
        keep_used_rows(classifier.transformer, (data.train, data.validation), end_of_text(encoding))
        trainer = Trainer(classifier, objective, config, device, logger, progress, best=out / BEST)
        save = partial(_save, trainer, classifier, data, encoding, labels, out)
        kept = train_to_end(trainer, {"train": train, "validation": validation}, save, out)
    return {
        "labels": list(labels),
        **kept,
        "longest_train_tokens": data.longest,
        "padded_length": data.length,
        "truncated_rows": data.truncated,
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

    train: Examples
    validation: Examples
    limit: int
    """Tokens that a text is cut to."""
    length: int | None
    """Tokens that every row is padded to, or None: no further than its batch."""
    longest: int
    """Tokens of the longest training row, none longer than the context."""
    truncated: dict[str, int]
    """How many rows of each split lose tokens."""


def prepare(
    train: Path, validation: Path, labels: list[str], encoding: tiktoken.Encoding, config: TrainConfig, context: int
) -> Prepared:
    """Tokenise both splits, and settle how long rows are.

    Raises:
        ConfigError: if a length that is asked for exceeds the context.
    """
    limit = _longest_allowed(config, context)
    splits = {"train": tokenise(train, labels, encoding), "validation": tokenise(validation, labels, encoding)}
    longest = min(int(splits["train"].lengths.max()), limit)
    length = _padded_length(config, limit, longest)
    cut = length or limit
    return Prepared(
        train=splits["train"].cut(cut),
        validation=splits["validation"].cut(cut),
        limit=cut,
        length=length,
        longest=longest,
        truncated={name: int((split.lengths > cut).sum()) for name, split in splits.items()},
    )


def tokenise(path: Path, labels: list[str], encoding: tiktoken.Encoding) -> Examples:
    """Read a split, some thousand rows at a time, and encode its texts."""
    ids = {label: position for position, label in enumerate(labels)}
    tokens: list[np.ndarray] = [np.empty(0, np.int32)]
    lengths: list[int] = [0]
    classes: list[int] = []
    for batch in pq.ParquetFile(path).iter_batches(CHUNK, columns=["text", "label"]):
        rows = encode(encoding, batch["text"].to_pylist())
        tokens.append(np.fromiter((token for row in rows for token in row), np.int32, sum(map(len, rows))))
        lengths += map(len, rows)
        classes += [ids[label] for label in batch["label"].to_pylist()]
    return Examples(np.concatenate(tokens), np.cumsum(lengths, dtype=np.int64), np.asarray(classes, dtype=np.int64))


def build_classifier(
    model: ModelConfig, lora: LoraConfig, config: TrainConfig, classes: int, vocab_size: int, weights: Path | None
) -> Classifier:
    """Return the classifier that training starts from, on the CPU, with the part that trains unfrozen.

    Raises:
        WeightsError: if `weights` do not fit the model.
    """
    transformer = make_transformer(model, vocab_size, weights, config.seed)
    return classifier_to_train(transformer, lora, config, classes)


def _read(frozen: Path) -> dict[Split, States]:
    splits: tuple[Split, ...] = ("train", "validation")
    return {split: open_states(frozen / f"{split}.safetensors") for split in splits}


def _save(
    trainer: Trainer, classifier: Classifier, data: Prepared, encoding: tiktoken.Encoding, labels: list[str], out: Path
) -> Facts:
    """Write the model that is kept, and the history; return what was kept of which steps."""
    kept = keep(trainer.config, trainer.history, classifier, trainer.best)
    put_rows_back(classifier.transformer, trainer.config, trainer.history.steps[: kept["kept_step"]])
    merge_adapters(classifier.transformer)
    (out / "model").mkdir()
    save_classifier(out / "model", classifier.cpu(), encoding, labels, max_length=data.limit, padding=data.length)
    write_history(trainer.history, out)
    return {**kept, "stopped_early": stopped_early(trainer)}


def _longest_allowed(config: TrainConfig, context: int) -> int:
    for name, value in (("max_length", config.max_length), ("padding", config.padding)):
        if isinstance(value, int) and value > context:
            raise ConfigError(
                f"train.{name}={value} is more than the model's context: set it to {context} tokens or less"
            )
    return config.max_length or context


def _padded_length(config: TrainConfig, limit: int, longest: int) -> int | None:
    """Return the fixed length of every row, or None where a batch is only as long as its longest row."""
    if config.padding in ("batch", "none"):
        return None
    return min(limit, longest if config.padding == "train" else int(config.padding))
