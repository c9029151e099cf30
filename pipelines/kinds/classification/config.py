"""The config of the classification flow, composed from the components' own."""

from typing import Literal

from components.data.sources import SourceConfig
from components.data.split.config import BalanceConfig, SplitConfig
from components.data.validation.rules import ValidationConfig
from components.evaluation.config import EvaluationConfig
from components.models.config import LoraConfig, ModelConfig
from components.tracking.config import TrackingConfig
from components.training.config import TrainConfig
from pipelines.config import PipelineConfig


class ClassificationConfig(PipelineConfig):
    """A text classifier, from download to registered model."""

    pipeline: Literal["classification"] = "classification"
    """Which flow runs."""

    source: SourceConfig
    """Where the data comes from and how it is read."""

    validation: ValidationConfig
    """What the data must be like."""

    split: SplitConfig = SplitConfig()
    """How rows are dealt to train, validation and test."""

    balance: BalanceConfig = BalanceConfig()
    """How classes of different size are evened out."""

    model: ModelConfig = ModelConfig()
    """The network and where its weights come from."""

    lora: LoraConfig = LoraConfig()
    """The adapters, where `train.trainable` is `lora`."""

    train: TrainConfig = TrainConfig()
    """The recipe of fine-tuning."""

    evaluation: EvaluationConfig = EvaluationConfig()
    """How the model is evaluated."""

    tracking: TrackingConfig = TrackingConfig()
    """Where the run is recorded."""


CONFIG = ClassificationConfig
