"""The tasks of the classification flow."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from components.core.home import mirror
from components.core.records import Facts, Manifest
from components.core.steps import identify, step
from components.data.split.config import BalanceConfig, SplitConfig
from components.data.split.given_splits import SPLITS
from components.data.validation.rules import ValidationConfig, of_a_trial
from components.models.config import LoraConfig, ModelConfig
from components.tasks import shared
from components.tasks.shared import DAY, HOUR, weights_folder
from components.training.config import TrainConfig

READ_BY_FROZEN = {"fast", "trainable", "pooling", "causal", "padding", "max_length", "precision", "device"}
"""The options of training that decide what `read_frozen` writes."""


@step("components.data.validation.labelled", timeout_seconds=HOUR)
def validate(out: Path, source: Manifest, rules: ValidationConfig) -> Facts:
    """Check a table with Great Expectations: `table.parquet` (what is used), `rejected.parquet`, `report.json/.html`.

    Raises `DataRejected` where an expectation of severity `error` is not met.
    """
    from components.data.validation.labelled import validate as block

    return block(source.path("table.parquet"), of_a_trial(rules) if source.facts.get("limit") else rules, out)


@step("components.data.split.labelled", timeout_seconds=HOUR)
def split(
    out: Path, table: Manifest, config: SplitConfig = SplitConfig(), balance: BalanceConfig = BalanceConfig()
) -> Facts:
    """Deal a validated table to `train.parquet`, `validation.parquet` and `test.parquet`."""
    from components.data.split.labelled import split as block

    ordered = bool(table.facts.get("ordered", False))
    return block(table.path("table.parquet"), config, balance, table.facts["labels"], out, ordered)


def _frozen_identity(arguments: Mapping[str, Any]) -> Any:
    # Only what the frozen blocks and their texts depend on, so that another learning rate finds them again.
    train = arguments["train"].model_dump(mode="json", include=READ_BY_FROZEN)
    drawn = None if arguments["weights"].files else arguments["train"].seed
    model = shared.network_identity(arguments["model"], {"tie_embeddings", "dropout"})
    train |= shared.computed_on(train["device"], train["precision"])
    return identify({**arguments, "model": model, "train": train, "seed": drawn})


@step(
    "components.training.frozen",
    identity=_frozen_identity,
    timeout_seconds=DAY,
    out_of_memory=shared.SHORTER_TEXTS,
)
def read_frozen(out: Path, splits: Manifest, weights: Manifest, model: ModelConfig, train: TrainConfig) -> Facts:
    """Compute the blocks that do not train, once for all texts: `<split>.safetensors`, none if they were too large."""
    from components.training.fine_tuning import Start
    from components.training.frozen import cache_features as block

    tables = {name: splits.path(f"{name}.parquet") for name in SPLITS}
    return block(tables, splits.facts["labels"], Start(model, weights_folder(weights), mirror=mirror()), train, out)


@step(
    "components.training.classification",
    # A classifier has no language-model head to tie.
    identity=partial(shared.training_identity, without={"tie_embeddings"}),
    timeout_seconds=7 * DAY,
    unkeyed=("run_id",),
    out_of_memory=shared.SMALLER_BATCHES,
)
def fine_tune(
    out: Path,
    splits: Manifest,
    weights: Manifest,
    model: ModelConfig,
    train: TrainConfig,
    lora: LoraConfig = LoraConfig(),
    run_id: str | None = None,
    frozen: Manifest | None = None,
) -> Facts:
    """Fine-tune a classifier: `model/`, `history.parquet`, `steps.parquet`; curves go to the MLflow run `run_id`.

    `frozen` is what `read_frozen` made of the same splits and weights. What an interruption leaves is kept beside, and
    so are the rows that made a loss infinite.
    """
    from components.training.classification import Classes
    from components.training.classification import fine_tune as block
    from components.training.fine_tuning import Splits, Start

    tables = Splits(splits.path("train.parquet"), splits.path("validation.parquet"))
    classes = Classes(splits.facts["labels"], splits.facts.get("class_weights"))
    start = Start(model, weights_folder(weights), lora, mirror())
    with shared.training_logger(run_id, splits, weights) as logger:
        return block(tables, classes, start, train, logger, out, _folder(frozen))


@step(
    "components.evaluation.classification",
    "components.reporting.classification_plots",
    "components.data.split.row_index",
    timeout_seconds=DAY,
    out_of_memory=shared.SHORTER_TEXTS,
)
def evaluate(
    out: Path,
    splits: Manifest,
    trained: Manifest,
    frozen: Manifest | None = None,
    weights: Manifest | None = None,
    flow: tuple[str, ...] = (),
    encoder: Manifest | None = None,
    miss_cost: float = 1.0,
) -> Facts:
    """Score a model and the baselines on all three splits: `metrics.json`, `predictions.parquet`, and figures.

    Those are in `figures/`, as PNG files and as what they are drawn from: `curves.parquet` (of the test split),
    `thresholds.parquet`, `calibration.parquet` and `lengths.parquet`.
    `frozen` is what `read_frozen` made of the same splits, with the weights that the model started from. Test rows
    that an earlier model was trained on, where `weights` are one's, are in no figure; `flow` is what runs say they are
    of whose rows can be matched with these. `learned.parquet` are hashes of the training rows. `encoder` are the
    weights of a model whose embeddings make one more baseline; by `miss_cost` a threshold is chosen.
    """
    from components.data.split.row_index import index_rows
    from components.evaluation.classification import evaluate as block
    from components.models.fast import fast_paths
    from components.reporting.classification_plots import draw

    tables = {name: splits.path(f"{name}.parquet") for name in SPLITS}
    ordered = bool(splits.facts.get("ordered", False))
    model, shares, device = trained.folder / "model", splits.facts["shares"], trained.facts["device"]
    labels, embedder = splits.facts["labels"], weights_folder(encoder) if encoder else None
    unseen = shared.unseen_rows(out, splits, lambda table: index_rows(table, labels), weights, flow)
    with fast_paths(trained.facts.get("fast", True)):  # models of before the option have no such fact
        facts = block(tables, model, shares, device, out, ordered, _folder(frozen), unseen, embedder, miss_cost)
    draw(trained.path("history.parquet"), trained.facts["kept_step"], facts, out / "figures")
    return facts


def _folder(frozen: Manifest | None) -> Path | None:
    """Return where `read_frozen` has put its files, if it was run and has."""
    return frozen.folder if frozen and frozen.files else None
