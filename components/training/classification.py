"""Fine-tuning a network as a text classifier: from two splits to a saved model."""

from collections.abc import Iterator, Mapping, Sequence
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
from components.training import fine_tuning
from components.training.batching import CutSplits, Examples, read_chunks
from components.training.config import TrainConfig
from components.training.fine_tuning import Splits, Start
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

    It goes on from a checkpoint, and what an interruption or an error leaves, is as `fine_tuning.train_to_end` says.

    Raises:
        ConfigError: if the options do not fit the data or the machine.
        TrainingError: if the loss is not a finite number.
        WeightsError: if the starting weights do not fit the model.
    """
    device, names = pick_device(config.device), list(classes.names)
    encoding = start.tokenizer()
    data = prepare(*splits, names, encoding, config, start.model.shape.context)
    with fine_tuning.prepared(config):
        classifier = build_classifier(start.model, start.lora, config, len(names), encoding.n_vocab, start.weights)
        states = {name: open_states(frozen / f"{name}.safetensors") for name in SPLITS} if frozen else {}
        objective = objective_of(classifier.to(device), data, config, device, end_of_text(encoding), states)
        if classes.weights is not None:
            objective.class_weights = torch.tensor(classes.weights, device=device)
        parameters = fine_tuning.count_parameters(classifier)
        keep_used_rows(classifier.transformer, (data.train, data.validation), objective.pad_id)

        def write(folder: Path, steps: Sequence[Step]) -> None:
            put_rows_back(classifier.transformer, config, steps)
            base = fine_tuning.keep_adapter(classifier, start, config, folder)
            if base is None:
                merge_adapters(classifier.transformer)
            save_classifier(folder, classifier.cpu(), encoding, names, data.limit, data.length, base)

        facts, _ = fine_tuning.learn(objective, splits, write, out, logger)
    return {
        "labels": names,
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
    limit = fine_tuning.longest_allowed(config, context)
    learnt, seen = (tokenise(path, labels, encoding) for path in (train, validation))
    longest = min(int(learnt.lengths.max()), limit)
    length = None
    if config.padding not in ("batch", "none"):
        length = min(limit, longest if config.padding == "train" else int(config.padding))
    cut = length or limit
    return Prepared(learnt.cut(cut), seen.cut(cut), cut, longest, length)


def objective_of(
    classifier: Classifier,
    data: Prepared,
    config: TrainConfig,
    device: torch.device,
    end: int,
    states: Mapping[Split, States],
) -> Classification:
    """Return what a classifier learns from both splits: from the `states` of its frozen blocks, if there are such."""
    precision = pick_precision(config.precision, device)
    plain = Classification(classifier, data.train, data.validation, config, device, precision, end, data.length)
    return Features(**vars(plain), states=states) if states else plain


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
    return fine_tuning.unfrozen(Classifier(network, classes, config.pooling, config.seed, config.causal), lora, config)
