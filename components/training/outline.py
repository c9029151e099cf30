"""Networks as a run would train them, but without content: to count their parameters, and to rehearse a step with them.

Made under `torch.device("meta")`, or while tensors are fake (`components.training.probe`), they take no memory.
"""

from components.models.architecture import make_network
from components.models.classifier import Classifier
from components.models.config import LoraConfig, ModelConfig
from components.models.language_model import LanguageModel
from components.models.lora import add_adapters
from components.models.trainable import set_trainable
from components.training.config import InstructionTrainConfig, TrainConfig
from components.training.frozen_weights import round_frozen


def outline_classifier(
    model: ModelConfig, lora: LoraConfig, config: TrainConfig, classes: int, vocab_size: int
) -> Classifier:
    """Return the classifier that a run would train, with its part that trains unfrozen, and undrawn weights."""
    transformer = make_network(model.shape, vocab_size, model.dropout)
    classifier = Classifier(transformer, classes, config.pooling, config.seed, config.causal)
    if config.trainable == "lora":
        add_adapters(transformer, lora, config.seed)
    set_trainable(classifier, config.trainable)
    return classifier


def outline_gpt(
    model: ModelConfig, lora: LoraConfig, config: InstructionTrainConfig, vocab_size: int, precision: str = "fp32"
) -> LanguageModel:
    """Return the language model that a run would train, likewise, in `fp32` or `bf16`."""
    gpt = LanguageModel(make_network(model.shape, vocab_size, model.dropout), model.tie_embeddings)
    gpt.transformer.recompute = config.gradient_checkpointing
    if config.trainable == "lora":
        add_adapters(gpt.transformer, lora, config.seed)
    set_trainable(gpt, config.trainable)
    if precision == "bf16":
        round_frozen(gpt)
    return gpt
