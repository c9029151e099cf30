"""Low-rank adapters: what fine-tuning adds to a frozen layer is a product of two thin matrices.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021. With lengths of its own for each row of the
weights: Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.errors import ConfigError
from components.models.architecture import Transformer
from components.models.config import LoraConfig
from components.models.layers import Linear, init_normal_, replace


class LoraLinear(Linear):
    """A frozen linear layer and its adapter: x W + b + s x A B, with s = alpha / r.

    `weight` and `bias` keep their names, so weights load and save as without an adapter. A is drawn, B is zero: at
    first the layer does what it did before. With `lora_lengths` (DoRA) each row of the weights, as A and B have changed
    it, is scaled to the length that is learnt for it.
    """

    def __init__(self, base: nn.Linear, config: LoraConfig, seed: int, name: str) -> None:
        super().__init__(base.in_features, base.out_features)
        self.weight, self.bias = base.weight, base.bias
        self.scale = config.scale
        self.dropout = config.dropout
        device = base.weight.device
        self.lora_a = nn.Parameter(torch.empty(config.rank, base.in_features, device=device))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, config.rank, device=device))
        init_normal_(self.lora_a, base.in_features**-0.5, seed, f"{name}.lora_a")
        self.lora_lengths = nn.Parameter(base.weight.detach().norm(dim=1)) if config.dora else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        dropped = F.dropout(x, self.dropout, self.training)
        change = self.scale * F.linear(F.linear(dropped, self.lora_a), self.lora_b)
        if self.lora_lengths is None:
            return super().forward(x) + change
        plain = F.linear(x, self.weight)
        read = F.linear(dropped, self.weight) if self.dropout and self.training else plain
        # As in the paper's 4.3, no gradient flows through the length of the changed rows. What is dropped are an
        # adapter's inputs, as in peft: the layer itself reads all of its own.
        ratio = self.lora_lengths / self._changed().detach().norm(dim=1)
        out: Tensor = plain + (ratio - 1).to(plain.dtype) * read + ratio.to(plain.dtype) * change
        return out if self.bias is None else out + self.bias.to(plain.dtype)

    def _changed(self) -> Tensor:
        """Return the weights with what A and B add to them, in fp32 in any precision: their lengths are compared."""
        with torch.autocast(self.weight.device.type, enabled=False):
            changed: Tensor = self.weight.float() + self.scale * self.lora_b @ self.lora_a
        return changed

    def merged(self) -> Linear:
        """Return one linear layer that does the same."""
        layer = Linear(self.in_features, self.out_features, self.bias is not None, device=self.weight.device)
        with torch.no_grad():
            changed = self._changed()
            if self.lora_lengths is not None:
                changed = changed * (self.lora_lengths / changed.norm(dim=1))[:, None]
            layer.weight.copy_(changed)
            if self.bias is not None:
                layer.bias.copy_(self.bias)
        return layer


def add_adapters(model: Transformer, config: LoraConfig, seed: int) -> None:
    """Give the layers that `config.targets` names, in every block, an adapter drawn from `seed`.

    Raises:
        ConfigError: if the family has no such layers.
    """
    for index, block in enumerate(model.blocks):
        for target in adapted_layers(model, config):
            name = f"{model.names.blocks}.{index}.{target}"
            base = model.get_submodule(name)
            assert isinstance(base, nn.Linear)
            replace(block, target, LoraLinear(base, config, seed, name))


def adapted_layers(model: Transformer, config: LoraConfig) -> tuple[str, ...]:
    """Return the names in a block of the layers that get an adapter.

    Raises:
        ConfigError: if the family has no such layers.
    """
    parts = {"attention": model.attention, "feed_forward": model.feed_forward}
    known = parts["all"] = (*model.attention, *model.feed_forward)
    if isinstance(config.targets, str):
        return parts[config.targets]
    if unknown := [target for target in config.targets if target not in known]:
        raise ConfigError(
            f"{model.name} has no {unknown[0]}; lora.targets can be all, attention, feed_forward, or of "
            f"{', '.join(known)}"
        )
    return tuple(config.targets)


def merge_adapters(model: Transformer) -> None:
    """Put each adapter into its layer's weights; a network without adapters stays as it is."""
    for block in model.blocks:
        for name, layer in list(block.named_modules()):
            if isinstance(layer, LoraLinear):
                replace(block, name, layer.merged())


def is_adapter(name: str) -> bool:
    """Tell whether a parameter of this name belongs to an adapter."""
    return name.endswith((".lora_a", ".lora_b", ".lora_lengths"))
