"""The tutorial's own network (`llms_from_scratch.ch04`) with the weights of one of ours."""

import torch
from torch import Tensor, nn

from components.models.architecture import Transformer


def tutorial_network(transformer: Transformer, head: nn.Linear) -> nn.Module:
    """Return the tutorial's `GPTModel` with these weights, all frozen, and with a copy of this head."""
    model = _network(transformer)
    model.out_head = nn.Linear(head.in_features, head.out_features, bias=head.bias is not None)
    theirs = _renamed(transformer.state_dict())
    theirs |= {f"out_head.{name}": tensor for name, tensor in head.state_dict().items()}
    missing, unexpected = model.load_state_dict(theirs, strict=False)
    if unexpected or not all(name.endswith("att.mask") for name in missing):
        raise RuntimeError(f"the tutorial's network is another one: {missing} are missing, {unexpected} left over")
    return model.requires_grad_(False)


def _network(transformer: Transformer) -> nn.Module:
    from llms_from_scratch.ch04 import GPTModel  # type: ignore[import-untyped]

    size = transformer.size
    config = {
        "vocab_size": transformer.vocab_size,
        "context_length": size.context,
        "emb_dim": size.width,
        "n_heads": size.heads,
        "n_layers": size.layers,
        "drop_rate": 0.0,
        "qkv_bias": True,
    }
    model: nn.Module = GPTModel(config)
    return model


def _renamed(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return our tensors, or views of them, by the tutorial's names; it has a layer each for queries, keys, values."""
    theirs: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        for mine, other in NAMES:
            name = name.replace(mine, other)  # noqa: PLW2901
        if "c_attn" in name:
            parts = zip(("W_query", "W_key", "W_value"), torch.chunk(tensor, 3), strict=True)
            theirs |= {name.replace("c_attn", layer): part for layer, part in parts}
        elif "norm" in name:
            theirs[name.replace("weight", "scale").replace("bias", "shift")] = tensor
        else:
            theirs[name] = tensor
    return theirs


NAMES = (
    ("wte.", "tok_emb."),
    ("wpe.", "pos_emb."),
    ("h.", "trf_blocks."),
    ("ln_f.", "final_norm."),
    ("ln_1.", "norm1."),
    ("ln_2.", "norm2."),
    (".attn.c_proj", ".att.out_proj"),
    (".attn.", ".att."),
    ("mlp.c_fc", "ff.layers.0"),
    ("mlp.c_proj", "ff.layers.2"),
)
"""Parts of our names, and the tutorial's for them, in the order in which they are replaced."""
