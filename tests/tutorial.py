"""The tutorial's own networks (the package `llms-from-scratch`) with the weights of ours, as an oracle."""

import pytest
import torch
from torch import nn

from components.models.classifier import Classifier
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel


def tutorial_model(gpt: LanguageModel) -> nn.Module:
    """The tutorial's language model of chapter 4, in evaluation mode; `gpt` has a head of its own."""
    model = _with_trunk(gpt.transformer)
    assert gpt.lm_head is not None
    model.out_head.load_state_dict(gpt.lm_head.state_dict())
    return model.eval()


def tutorial_classifier(classifier: Classifier) -> nn.Module:
    """The tutorial's classifier of chapter 6, in evaluation mode; what trains is what trains in `classifier`."""
    model = _with_trunk(classifier.transformer)
    model.out_head = nn.Linear(classifier.transformer.size.width, classifier.head.out_features)
    model.out_head.load_state_dict(classifier.head.state_dict())
    model.requires_grad_(False)
    trained = {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    layers = classifier.transformer.size.layers
    for layer in range(layers):
        if f"transformer.h.{layer}.mlp.c_fc.weight" in trained:
            model.trf_blocks[layer].requires_grad_(True)
    parts = {"transformer.ln_f.weight": model.final_norm, "head.weight": model.out_head,
             "transformer.wte.weight": model.tok_emb, "transformer.wpe.weight": model.pos_emb}  # fmt: skip
    for name, part in parts.items():
        part.requires_grad_(name in trained)
    return model.eval()


def _with_trunk(transformer: GPT2) -> nn.Module:
    ch04 = pytest.importorskip("llms_from_scratch.ch04")
    size = transformer.size
    cfg = {"vocab_size": transformer.vocab_size, "context_length": size.context, "emb_dim": size.width,
           "n_heads": size.heads, "n_layers": size.layers, "drop_rate": 0.0, "qkv_bias": True}  # fmt: skip
    model: nn.Module = ch04.GPTModel(cfg)
    missing, unexpected = model.load_state_dict(_renamed(transformer), strict=False)
    assert not unexpected
    assert all(name.endswith("att.mask") or name.startswith("out_head") for name in missing)
    return model


def _renamed(transformer: GPT2) -> dict[str, torch.Tensor]:
    ours = transformer.state_dict()
    theirs = {"tok_emb.weight": ours["wte.weight"], "pos_emb.weight": ours["wpe.weight"]}
    theirs |= _renamed_norm(ours, "ln_f", "final_norm")
    for layer in range(transformer.size.layers):
        a, b = f"h.{layer}", f"trf_blocks.{layer}"
        for kind in ("weight", "bias"):
            for name, part in zip(("query", "key", "value"), ours[f"{a}.attn.c_attn.{kind}"].chunk(3), strict=True):
                theirs[f"{b}.att.W_{name}.{kind}"] = part
            theirs[f"{b}.att.out_proj.{kind}"] = ours[f"{a}.attn.c_proj.{kind}"]
            theirs[f"{b}.ff.layers.0.{kind}"] = ours[f"{a}.mlp.c_fc.{kind}"]
            theirs[f"{b}.ff.layers.2.{kind}"] = ours[f"{a}.mlp.c_proj.{kind}"]
        theirs |= _renamed_norm(ours, f"{a}.ln_1", f"{b}.norm1") | _renamed_norm(ours, f"{a}.ln_2", f"{b}.norm2")
    return theirs


def _renamed_norm(ours: dict[str, torch.Tensor], a: str, b: str) -> dict[str, torch.Tensor]:
    return {f"{b}.scale": ours[f"{a}.weight"], f"{b}.shift": ours[f"{a}.bias"]}
