"""Networks as a run trains them: with their adapters, and frozen but for the part that trains.

Outlines are networks without content, to count their parameters and to rehearse a step with them: made under
`torch.device("meta")`, or while tensors are fake (`components.training.planning.probe`), they take no memory.
"""

from components.models.architecture import Transformer, make_network
from components.models.classifier import Classifier
from components.models.config import LoraConfig, ModelConfig
from components.models.language_model import LanguageModel
from components.models.lora import add_adapters
from components.models.trainable import set_trainable
from components.training.config import InstructionTrainConfig, Recipe, TrainConfig
from components.training.frozen_weights import round_frozen
from components.training.objectives import Model


def classifier_to_train(transformer: Transformer, lora: LoraConfig, config: TrainConfig, classes: int) -> Classifier:
    """Return the classifier that a recipe makes of a network."""
    return _trainable(Classifier(transformer, classes, config.pooling, config.seed, config.causal), lora, config)


def language_model_to_train(model: LanguageModel, lora: LoraConfig, config: InstructionTrainConfig) -> LanguageModel:
    """Return a language model as a recipe trains it."""
    model.transformer.recompute = config.gradient_checkpointing
    return _trainable(model, lora, config)


def _trainable(model: Model, lora: LoraConfig, config: Recipe) -> Model:
    if config.trainable == "lora":
        add_adapters(model.transformer, lora, config.seed)
    set_trainable(model, config.trainable)
    return model


def outline_classifier(
    model: ModelConfig, lora: LoraConfig, config: TrainConfig, classes: int, vocab_size: int
) -> Classifier:
    """Return the classifier that a run would train, with undrawn weights."""
    return classifier_to_train(make_network(model.shape, vocab_size, model.dropout), lora, config, classes)


def outline_gpt(
    model: ModelConfig, lora: LoraConfig, config: InstructionTrainConfig, vocab_size: int, precision: str = "fp32"
) -> LanguageModel:
    """Return the language model that a run would train, likewise, in `fp32` or `bf16`."""
    network = make_network(model.shape, vocab_size, model.dropout)
    gpt = language_model_to_train(LanguageModel(network, model.tied), lora, config)
    if precision == "bf16":
        round_frozen(gpt)
    return gpt
