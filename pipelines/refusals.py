"""What runs and checks refuse before anything is fetched: what the config, and the weights' own, say at once."""

from components.core.errors import ConfigError, WeightsUnreachable
from components.models.config import ModelConfig
from components.models.processor import resolve
from components.models.sizes import AnySize
from components.training.config import Recipe
from pipelines.config import PipelineConfig

BYTES = {"all": 16}
"""What a weight takes at least where it trains: itself, its gradient and two moments, all in fp32."""
BYTES_FROZEN = 4
"""What it takes at least while it is read."""


def refuse_early(config: PipelineConfig) -> None:
    """Refuse what no data could make right; a model that cannot be reached now is left to the step that fetches it.

    Raises:
        ConfigError: if the model is too large for the machine, or its family has no layers that `lora.targets` names.
        WeightsError: if the model is of no family that is known, or `model.adapter` is none that fits it.
    """
    model, train = config.model, config.train
    try:
        shape = model.shape
    except WeightsUnreachable:
        return
    if resolve(train.device, train.precision)[0] == "cpu":
        _refuse_too_large(model, shape, train)
    names_layers = train.trainable == "lora" and not isinstance(config.lora.targets, str)
    if names_layers or model.adapter:
        _refuse_adapters(config, shape)


def _refuse_too_large(model: ModelConfig, shape: AnySize, train: Recipe) -> None:
    import psutil

    needed = shape.products * BYTES.get(train.trainable, BYTES_FROZEN)
    there = psutil.virtual_memory().total + psutil.swap_memory().total
    if needed > there:
        raise ConfigError(
            f"{model.weights} takes more than {needed / 1e9:,.0f} GB of memory with train.trainable={train.trainable}, "
            f"this machine has {there / 1e9:,.0f} GB: choose a smaller model"
            + ("" if train.trainable == "lora" else ", or train.trainable=lora")
        )


def _refuse_adapters(config: PipelineConfig, shape: AnySize) -> None:
    import torch

    from components.models.architecture import make_network
    from components.models.lora import adapted_layers
    from components.models.saved.adapter import load_adapter

    with torch.device("meta"):
        network = make_network(shape, vocab_size=1)
        if config.train.trainable == "lora":
            adapted_layers(network, config.lora)
        if config.model.adapter:
            load_adapter(network, config.model.adapter_folder)
