"""Fine-tuning a GPT as a text classifier: from two splits to a saved model."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import tiktoken
import torch
from pyarrow.dataset import dataset
from torch import Tensor, nn

from components.errors import ConfigError
from components.interruptions import hold_until_published
from components.model.classifier import Classifier, set_trainable
from components.model.config import LoraConfig, ModelConfig
from components.model.lora import add_adapters, merge_adapters
from components.model.saved import save_classifier
from components.model.tokenizer import VOCABULARY_FILE, encode, end_of_text, load_tokenizer, read_tokenizer
from components.model.weights import make_transformer
from components.records import Facts, Logger
from components.store import CHECKPOINT
from components.training.batching import Examples
from components.training.checkpoint import BEST, read_checkpoint, write_checkpoint, write_history, write_trained
from components.training.config import TrainConfig
from components.training.devices import pick_device, pick_precision
from components.training.loop import History, NotFinite, Split, Trainer, rows_per_step, total_steps
from components.training.progress import training_bar

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
) -> Facts:
    """Fine-tune a classifier and write it to `out/model`, with its history beside.

    Writes `steps.parquet` (loss, gradient norm and learning rate of a step) and `history.parquet` (evaluations), and
    `best.safetensors` where the last weights are the model but another step had a lower validation loss. Adapters are
    merged into the model. Same inputs, seed and machine: same weights, bit by bit.

    An interruption leaves the model so far in `out/model`, and `out/checkpoint`, which an error leaves too; where that
    stands in `out` at the start, training goes on from it. A loss that is not finite leaves `batch.parquet`, its rows.
    The exception's `evidence` says that something is left.

    Raises:
        ConfigError: if the options do not fit the data or the machine.
        TrainingError: if the loss is not a finite number.
        WeightsError: if `weights` do not fit the model.
    """
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    encoding = load_tokenizer(model.vocabulary, mirror)
    _check_vocabulary(weights, encoding)
    data = prepare(train, validation, labels, encoding, config, model.shape.context)
    with _seeded(config.seed), training_bar(total_steps(config, len(data.train)), config.epochs) as progress:
        classifier = build_classifier(model, lora or LoraConfig(), config, len(labels), encoding.n_vocab, weights)
        trainer = Trainer(
            model=classifier.to(device),
            train=data.train,
            validation=data.validation,
            config=config,
            device=device,
            precision=precision,
            pad_id=end_of_text(encoding),
            length=data.length,
            logger=logger,
            progress=progress,
            save_best=lambda: write_trained(classifier, out / BEST),
            class_weights=None if class_weights is None else torch.tensor(class_weights, device=device),
        )
        parameters = _count_parameters(classifier)
        save = partial(_save, trainer, classifier, data, encoding, labels, out)
        if (out / CHECKPOINT).exists():
            read_checkpoint(out / CHECKPOINT, trainer, out / BEST)
            shutil.rmtree(out / CHECKPOINT)
        with _kept_if_stopped(trainer, {"train": train, "validation": validation}, save, out):
            trainer.fit()
        hold_until_published()
    return {
        "labels": list(labels),
        **save(),
        "longest_train_tokens": data.longest,
        "padded_length": data.length,
        "truncated_rows": data.truncated,
        "batch_size": config.batch_size,
        "rows_per_step": rows_per_step(config),
        **parameters,
        "device": device.type,
        "precision": precision,
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
    model: ModelConfig, lora: LoraConfig, config: TrainConfig, classes: int, vocabulary: int, weights: Path | None
) -> Classifier:
    """Return the classifier that training starts from, on the CPU, with the part that trains unfrozen.

    Raises:
        WeightsError: if `weights` do not fit the model.
    """
    transformer = make_transformer(model, vocabulary, weights, config.seed)
    classifier = Classifier(transformer, classes, config.pooling, config.seed, config.causal)
    if config.trainable == "lora":
        add_adapters(transformer, lora, config.seed)
    set_trainable(classifier, config.trainable)
    return classifier


def _save(
    trainer: Trainer, classifier: Classifier, data: Prepared, encoding: tiktoken.Encoding, labels: list[str], out: Path
) -> Facts:
    """Write the model that is kept, and the history; return what was kept of which steps."""
    history, config = trainer.history, trainer.config
    kept = _keep(config, history, classifier, out / BEST)
    merge_adapters(classifier.transformer)
    (out / "model").mkdir()
    save_classifier(out / "model", classifier.cpu(), encoding, labels, max_length=data.limit, padding=data.length)
    write_history(history, out)
    return {
        "steps": len(history.steps),
        "kept_step": kept,
        "best_step": history.best.step if history.best else None,
        "stopped_early": len(history.steps) < total_steps(config, len(data.train)),
    }


def _keep(config: TrainConfig, history: History, model: Classifier, best: Path) -> int:
    """Put the weights to keep into `model` and return their step; a second copy on disk is removed."""
    from safetensors.torch import load_file

    last = history.steps[-1].step
    best_step = history.best.step if history.best else last
    if config.keep == "best" and best_step != last:
        model.load_state_dict(load_file(best), strict=False)
    kept = best_step if config.keep == "best" else last
    if kept == best_step:
        best.unlink(missing_ok=True)
    return kept


@contextmanager
def _kept_if_stopped(
    trainer: Trainer, splits: dict[Split, Path], save: Callable[[], Facts], out: Path
) -> Iterator[None]:
    """Leave in `out` what is worth keeping where training does not come to its end, and say so on the exception."""
    try:
        yield
    except NotFinite as error:
        _write_rows(trainer, error, splits[error.split], out / "batch.parquet")
        error.evidence = out
        raise
    except BaseException as stopped:  # Ctrl-C, or the process is told to end, or something fails
        if trainer.taken:
            hold_until_published()
            write_checkpoint(trainer, out / BEST, out / CHECKPOINT)
            if not isinstance(stopped, Exception):
                save()
            stopped.evidence = out  # type: ignore[attr-defined]
        raise


def _write_rows(trainer: Trainer, error: NotFinite, split: Path, path: Path) -> None:
    """Write the rows of a split whose loss is not finite, with their token ids."""
    examples = trainer.train if error.split == "train" else trainer.validation
    frame = dataset(split).take(error.rows).to_pandas()
    frame["tokens"] = pd.Series([examples.tokens(row) for row in error.rows], index=frame.index)
    frame.to_parquet(path, index=False)


def _longest_allowed(config: TrainConfig, context: int) -> int:
    for name, value in (("max_length", config.max_length), ("padding", config.padding)):
        if isinstance(value, int) and value > context:
            raise ConfigError(
                f"train.{name}={value} is more than the model's context: set it to {context} tokens or less"
            )
    return config.max_length or context


def _check_vocabulary(weights: Path | None, encoding: tiktoken.Encoding) -> None:
    """Refuse an earlier model whose token ids stand for other texts; its weights would load all the same."""
    if weights is None or not (weights / VOCABULARY_FILE).exists():
        return
    if read_tokenizer(weights)._mergeable_ranks != encoding._mergeable_ranks:
        raise ConfigError(
            "model.weights was trained with another vocabulary than model.vocabulary; set the one of its run"
        )


def _padded_length(config: TrainConfig, limit: int, longest: int) -> int | None:
    """Return the fixed length of every row, or None where a batch is only as long as its longest row."""
    if config.padding in ("batch", "none"):
        return None
    return min(limit, longest if config.padding == "train" else int(config.padding))


def _count_parameters(model: nn.Module) -> Facts:
    def count(tensors: Iterable[Tensor]) -> int:
        return sum(tensor.numel() for tensor in tensors)

    trained = (tensor for tensor in model.parameters() if tensor.requires_grad)
    return {"parameters": count(model.parameters()), "trained_parameters": count(trained)}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed dropout, and leave the caller's random state as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
