"""Fine-tuning a GPT as a text classifier: from two splits to a saved model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from components.core.records import Facts, Logger
from components.models.architecture import make_network
from components.models.classifier import Classifier
from components.models.config import LoraConfig, ModelConfig
from components.models.devices import pick_device, pick_precision
from components.models.fast.states import States, open_states
from components.models.lora import merge_adapters
from components.models.saved.classifier import save_classifier
from components.models.tokenizer import Tokenizer, closing, encode_whole, end_of_text
from components.models.weights import make_transformer
from components.training.batching import CutSplits, Examples, read_chunks
from components.training.config import TrainConfig
from components.training.fine_tuning import (
    Splits,
    Start,
    count_parameters,
    keep_adapter,
    learn,
    longest_allowed,
    prepared,
    unfrozen,
)
from components.training.history import Step
from components.training.objectives import SPLITS, Split
from components.training.objectives.classification import Classification, Features
from components.training.used_rows import keep_used_rows, put_rows_back


@dataclass(frozen=True)
class Classes:
    """What a text can be: names, the position being the class id, and how much a row of each counts (None: alike)."""

    names: Sequence[str]
    weights: Sequence[float] | None = None


def fine_tune(
    splits: Splits,
    classes: Classes,
    start: Start,
    config: TrainConfig,
    logger: Logger,
    out: Path,
    frozen: Path | None = None,
) -> Facts:
    """Fine-tune a classifier and write it to `out/model`, with its history beside.

    `frozen` is the folder in which `components.training.frozen` has put what the blocks that do not train make of these
    very splits, if it has; without it they are computed in every step, with the same losses within rounding.

    Writes `steps.parquet` (loss, gradient norm and learning rate of a step) and `history.parquet` (evaluations), and
    `best.safetensors` where the last weights are the model but another step had a lower validation loss. Adapters are
    merged into the model, unless they alone are kept, and left as `adapter/` too. Same inputs, seed and machine: same
    weights, bit by bit.

    Every `train.checkpoint_minutes` a checkpoint is written to `out/checkpoint` (`components.training.checkpoints`);
    where one stands there at the start, training goes on from it. It is left there: whoever has the result in a safe
    place may delete it. An interruption leaves a checkpoint too, and the model so far in `out/model`; an error leaves a
    checkpoint, a loss that is not finite `batch.parquet`, its rows. The exception's `evidence` says so.

    Raises:
        ConfigError: if the options do not fit the data or the machine.
        TrainingError: if the loss is not a finite number.
        WeightsError: if the starting weights do not fit the model.
    """
    device = pick_device(config.device)
    encoding = start.tokenizer()
    data = prepare(*splits, list(classes.names), encoding, config, start.model.shape.context)
    with prepared(config):
        count = len(classes.names)
        classifier = build_classifier(start.model, start.lora, config, count, encoding.n_vocab, start.weights)
        objective = Classification(
            model=classifier.to(device),
            train=data.train,
            validation=data.validation,
            config=config,
            device=device,
            precision=pick_precision(config.precision, device),
            pad_id=end_of_text(encoding),
            length=data.length,
            class_weights=None if classes.weights is None else torch.tensor(classes.weights, device=device),
        )
        if frozen:
            states: dict[Split, States] = {name: open_states(frozen / f"{name}.safetensors") for name in SPLITS}
            objective = Features(**vars(objective), states=states)

        parameters = count_parameters(classifier)
        keep_used_rows(classifier.transformer, (data.train, data.validation), objective.pad_id)

        def write(folder: Path, steps: Sequence[Step]) -> None:
            put_rows_back(classifier.transformer, config, steps)
            base = keep_adapter(classifier, start, config, folder)
            if base is None:
                merge_adapters(classifier.transformer)
            save_classifier(folder, classifier.cpu(), encoding, list(classes.names), data.limit, data.length, base)

        facts, _ = learn(objective, splits, write, out, logger)
    return {
        "labels": list(classes.names),
        "longest_train_tokens": data.longest,
        "padded_length": data.length,
        "truncated_rows": data.truncated,
        **parameters,
        **facts,
    }


@dataclass(frozen=True)
class Prepared(CutSplits[Examples]):
    """Both splits, and how long their rows are; `longest` is no longer than the context."""

    length: int | None
    """Tokens that every row is padded to, or None: no further than its batch."""


def prepare(
    train: Path, validation: Path, labels: list[str], encoding: Tokenizer, config: TrainConfig, context: int
) -> Prepared:
    """Tokenise both splits, and decide how long rows are.

    Raises:
        ConfigError: if a length that is asked for exceeds the context.
    """
    limit = longest_allowed(config, context)
    learnt, seen = (tokenise(path, labels, encoding) for path in (train, validation))
    longest = min(int(learnt.lengths.max()), limit)
    length = None
    if config.padding not in ("batch", "none"):
        length = min(limit, longest if config.padding == "train" else int(config.padding))
    cut = length or limit
    return Prepared(learnt.cut(cut), seen.cut(cut), cut, longest, length)


def tokenise(path: Path, labels: list[str], encoding: Tokenizer) -> Examples:
    """Read a split, some thousand rows at a time, and encode its texts."""
    ids = {label: position for position, label in enumerate(labels)}
    classes: list[int] = []

    def rows() -> Iterator[list[int]]:
        for batch in read_chunks(path, ["text", "label"]):
            classes.extend(ids[label] for label in batch["label"].to_pylist())
            yield from encode_whole(encoding, batch["text"].to_pylist())

    return Examples.of(rows(), classes, closing(encoding))


def build_classifier(
    model: ModelConfig,
    lora: LoraConfig,
    config: TrainConfig,
    classes: int,
    vocab_size: int,
    weights: Path | None = None,
    outline: bool = False,
) -> Classifier:
    """Return the classifier that training starts from, on the CPU, with the part that trains unfrozen.

    An `outline` has weights that hold nothing: under `torch.device("meta")`, or while tensors are fake, it takes no
    memory.

    Raises:
        WeightsError: if `weights` do not fit the model.
    """
    if outline:
        network = make_network(model.shape, vocab_size, model.dropout)
    else:
        network = make_transformer(model, vocab_size, weights, config.seed)
    return unfrozen(Classifier(network, classes, config.pooling, config.seed, config.causal), lora, config)
