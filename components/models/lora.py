"""Low-rank adapters: what fine-tuning adds to a frozen layer is a product of two thin matrices.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.errors import ConfigError
from components.models.architecture import Transformer
from components.models.config import LoraConfig
from components.models.layers import Linear, init_normal_


class LoraLinear(Linear):
    """A frozen linear layer and its adapter: x W + b + (alpha / r) x A B.

    `weight` and `bias` keep their names, so weights load and save as without an adapter. A is drawn, B is zero: at
    first the layer does what it did before.
    """

    def __init__(self, base: nn.Linear, config: LoraConfig, seed: int, name: str) -> None:
        super().__init__(base.in_features, base.out_features)
        self.weight, self.bias = base.weight, base.bias
        self.scale = config.alpha / config.rank
        self.dropout = config.dropout
        device = base.weight.device
        self.lora_a = nn.Parameter(torch.empty(config.rank, base.in_features, device=device))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, config.rank, device=device))
        init_normal_(self.lora_a, base.in_features**-0.5, seed, f"{name}.lora_a")

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        dropped = F.dropout(x, self.dropout, self.training)
        return super().forward(x) + self.scale * F.linear(F.linear(dropped, self.lora_a), self.lora_b)

    def merged(self) -> Linear:
        """Return one linear layer that does the same."""
        layer = Linear(self.in_features, self.out_features, self.bias is not None, device=self.weight.device)
        with torch.no_grad():
            layer.weight.copy_(self.weight + self.scale * self.lora_b @ self.lora_a)
            if self.bias is not None:
                layer.bias.copy_(self.bias)
        return layer


def add_adapters(model: Transformer, config: LoraConfig, seed: int) -> None:
    """Give the layers that `config.targets` names, in every block, an adapter drawn from `seed`.

    Raises:
        ConfigError: if the family has no such layers.
    """
    if unknown := [target for target in config.targets if target not in model.targets]:
        raise ConfigError(f"{model.name} has no {unknown[0]}; lora.targets can be {', '.join(model.targets)}")
    for index, block in enumerate(model.blocks):
        for target in config.targets:
            name = f"{model.names.blocks}.{index}.{target}"
            base = model.get_submodule(name)
            assert isinstance(base, nn.Linear)
            _replace(block, target, LoraLinear(base, config, seed, name))


def merge_adapters(model: Transformer) -> None:
    """Put each adapter into its layer's weights; a network without adapters stays as it is."""
    for block in model.blocks:
        for name, layer in list(block.named_modules()):
            if isinstance(layer, LoraLinear):
                _replace(block, name, layer.merged())


def is_adapter(name: str) -> bool:
    """Tell whether a parameter of this name belongs to an adapter."""
    return name.endswith((".lora_a", ".lora_b"))


def _replace(block: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(block.get_submodule(parent), child, layer)
