"""Fine-tuning a GPT as a text classifier: from two splits to a saved model."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import tiktoken
import torch
from torch import Tensor, nn

from components.errors import ConfigError
from components.model.classifier import Classifier, set_trainable
from components.model.config import ModelConfig
from components.model.saved import save_classifier
from components.model.tokenizer import VOCABULARY_FILE, encode, end_of_text, load_tokenizer, read_tokenizer
from components.model.weights import make_transformer
from components.records import Facts, Logger
from components.training.batching import Examples
from components.training.config import TrainConfig
from components.training.devices import pick_device, pick_precision
from components.training.loop import History, Trainer, total_steps
from components.training.progress import training_bar


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
) -> Facts:
    """Fine-tune a classifier and write it to `out/model`, with its history beside.

    Writes `steps.parquet` (loss and gradient norm a step) and `history.parquet` (evaluations), and
    `best.safetensors` where the last weights are the model but another step had a lower validation loss.
    Same inputs, seed and machine: same weights, bit by bit.

    Raises:
        ConfigError: if the options do not fit the data or the machine.
        TrainingError: if the loss is not a finite number.
        WeightsError: if `weights` do not fit the model.
    """
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device)
    encoding = load_tokenizer(model.vocabulary, mirror)
    _check_vocabulary(weights, encoding)
    with _seeded(config.seed):
        transformer = make_transformer(model, encoding.n_vocab, weights, config.seed)
        classifier = Classifier(transformer, len(labels), config.pooling, config.seed)
        set_trainable(classifier, config.trainable)
        classifier.to(device)
        limit = _longest_allowed(config, classifier)
        examples = [tokenise(path, labels, encoding, limit) for path in (train, validation)]
        longest = max(len(tokens) for tokens in examples[0].tokens)
        length = _padded_length(config, limit, longest)
        best = out / "best.safetensors"
        with training_bar(total_steps(config, len(examples[0])), config.epochs) as progress:
            history = Trainer(
                model=classifier,
                train=_cut(examples[0], length),
                validation=_cut(examples[1], length),
                config=config,
                device=device,
                precision=precision,
                pad_id=end_of_text(encoding),
                length=length,
                logger=logger,
                progress=progress,
                save_best=lambda: save_trained(classifier, best),
            ).fit()
    kept = _keep(config, history, classifier, best)
    (out / "model").mkdir()
    save_classifier(out / "model", classifier.cpu(), encoding, labels, max_length=length or limit, padding=length)
    write_history(history, out)
    return {
        "labels": list(labels),
        "steps": len(history.steps),
        "kept_step": kept,
        "best_step": history.best.step if history.best else None,
        "longest_train_tokens": longest,
        "padded_length": length,
        "batch_size": config.batch_size,
        "parameters": _count(classifier.parameters()),
        "trained_parameters": _count(tensor for tensor in classifier.parameters() if tensor.requires_grad),
        "device": device.type,
        "precision": precision,
    }


def tokenise(path: Path, labels: list[str], encoding: tiktoken.Encoding, limit: int) -> Examples:
    """Read a split and encode its texts, each cut to `limit` tokens."""
    frame = pd.read_parquet(path, columns=["text", "label"])
    ids = {label: position for position, label in enumerate(labels)}
    tokens = [tokens[:limit] for tokens in encode(encoding, frame["text"].tolist())]
    return Examples(tokens, [ids[label] for label in frame["label"]])


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def save_trained(model: nn.Module, path: Path) -> None:
    """Write the tensors that train, and only those, as safetensors; beside, then renamed."""
    from safetensors.torch import save_file

    draft = path.with_suffix(".part")
    trained = {name: tensor.detach().cpu() for name, tensor in model.named_parameters() if tensor.requires_grad}
    save_file(trained, draft)
    draft.replace(path)


def write_history(history: History, out: Path) -> None:
    """Write `steps.parquet` and `history.parquet`."""
    pd.DataFrame([asdict(step) for step in history.steps]).to_parquet(out / "steps.parquet", index=False)
    pd.DataFrame([asdict(row) for row in history.evaluations]).to_parquet(out / "history.parquet", index=False)


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


def _longest_allowed(config: TrainConfig, model: Classifier) -> int:
    context = model.transformer.size.context
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
    if config.padding == "batch":
        return None
    return min(limit, longest if config.padding == "train" else config.padding)


def _cut(examples: Examples, length: int | None) -> Examples:
    return Examples([tokens[:length] for tokens in examples.tokens], examples.labels)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed dropout, and leave the caller's random state as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
