"""Heads of classifiers as `transformers` has them: what they read, and what lies between that and the labels.

There GPT-2's and Llama's heads have no bias, and those of RoBERTa, DeBERTa and ModernBERT have layers of their own
before the last one. A head of one linear layer is written into these so that they compute the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from components.core.errors import WeightsError
from components.models.classifier import Classifier
from components.models.config import Pooling

SMALL = 2.0**-12
"""What is multiplied by this is so small that tanh leaves it as it is, to fp32's precision; a power of two costs none.
"""


@dataclass(frozen=True)
class Head:
    """A head in the layout of `transformers`."""

    tensors: Mapping[str, Tensor]
    """Its weights by their names in the file."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What `config.json` says of it."""
    added: Mapping[str, Tensor] = field(default_factory=dict)
    """What is added to other tensors of the file."""


def head_of(model: Classifier, class_name: str) -> Head:
    """Return the head of a classifier as the class of `transformers` has it.

    Raises:
        WeightsError: if that class has no such pooling, mask or bias.
    """
    family = model.transformer.name
    known = POOLINGS.get(family, ())
    if not known:
        raise WeightsError(f"a classifier of the family {family} has no counterpart in transformers that is known here")
    if model.pooling not in known:
        raise WeightsError(
            f"train.pooling={model.pooling} has no counterpart in transformers: {class_name} reads "
            f"{' or '.join(known)}; train with one of these, or serve the model with Gradus"
        )
    if not model.causal and not model.transformer.size.is_encoder:
        raise WeightsError(
            f"train.causal=false has no counterpart in transformers: in {class_name} a token sees only those before "
            "it; train with train.causal=true, or serve the model with Gradus"
        )
    return WRITERS[family](model, class_name)


def _weights(model: Classifier) -> tuple[Tensor, Tensor]:
    """Return weights (C, D) and biases (C,), fp32 on the CPU."""
    weight, bias = model.head.weight.detach().float().cpu(), model.head.bias
    return weight, torch.zeros(len(weight)) if bias is None else bias.detach().float().cpu()


def _named(name: str, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    return {f"{name}.weight": weight, f"{name}.bias": bias}


def _without_bias(model: Classifier, class_name: str) -> Head:
    """Return a head without a bias: where the norm before it has one, that makes up for it."""
    weight, bias = _weights(model)
    norm = model.transformer.final_norm
    if not bias.any():
        return Head({"score.weight": weight})
    if getattr(norm, "bias", None) is None:
        raise WeightsError(
            f"the classifier's head has a bias and that of {class_name} has none: it was trained by an earlier "
            "version of Gradus; train it again"
        )
    shift = torch.linalg.lstsq(weight.double(), bias.double()[:, None], driver="gelsd").solution[:, 0].float()
    names = model.transformer.names
    return Head({"score.weight": weight}, added={f"{names.prefix}{names.final_norm}.bias": shift})


def _after_pooler(model: Classifier, class_name: str) -> Head:  # noqa: ARG001 - as the others
    return Head(_named("classifier", *_weights(model)))


def _after_tanh(model: Classifier, class_name: str) -> Head:  # noqa: ARG001
    """Return a head of RoBERTa: a layer of the network's width, tanh, and the last layer."""
    weight, bias = _weights(model)
    width = weight.shape[1]
    before = _named("classifier.dense", SMALL * torch.eye(width), torch.zeros(width))
    return Head(before | _named("classifier.out_proj", weight / SMALL, bias))


def _after_nothing(model: Classifier, class_name: str) -> Head:  # noqa: ARG001
    """Return a head of DeBERTa, whose pooler does nothing."""
    weight, bias = _weights(model)
    width = weight.shape[1]
    pooler = _named("pooler.dense", torch.eye(width), torch.zeros(width))
    settings = {"pooler_hidden_act": "linear", "pooler_hidden_size": width, "pooler_dropout": 0.0}
    return Head(pooler | _named("classifier", weight, bias), settings)


def _after_norm(model: Classifier, class_name: str) -> Head:
    """Return a head of ModernBERT: a layer of the network's width, a norm, and the last layer.

    The first layer computes the logits, made small, into as many of its places, 1 and -1 into the last two, and 0 into
    the rest. So the variance is that of 1 and -1 whatever the logits are, and the norm is known beforehand. The last
    layer takes a logit less one of the zeros, for the norm subtracts the mean from both.
    """
    weight, bias = _weights(model)
    classes, width = weight.shape
    if classes > width - 3:
        raise WeightsError(f"{classes} labels are too many for the head of {class_name}, of width {width}")
    dense, ends = torch.zeros(width, width), torch.zeros(width)
    dense[:classes], ends[-2], ends[-1] = SMALL * weight, 1.0, -1.0
    last = torch.zeros(classes, width)
    last[:, :classes], last[:, -3] = torch.eye(classes) / SMALL, -1 / SMALL
    epsilon = float(getattr(model.transformer.final_norm, "eps"))  # noqa: B009 - a layer norm's
    norm = {"head.norm.weight": torch.full((width,), (2 / width + epsilon) ** 0.5)}
    if getattr(model.transformer.size, "norm_bias", False):
        norm["head.norm.bias"] = torch.zeros(width)
    pooling = "mean" if model.pooling == "mean" else "cls"
    return Head(
        _named("head.dense", dense, ends) | norm | _named("classifier", last, bias),
        {"classifier_pooling": pooling, "classifier_activation": "linear", "classifier_bias": True},
    )


FIRST: tuple[Pooling, ...] = ("cls", "first_token")
POOLINGS: dict[str, tuple[Pooling, ...]] = {
    "gpt2": ("last_token",),
    "llama": ("last_token",),
    "bert": ("cls",),
    "roberta": FIRST,
    "deberta": FIRST,
    "modernbert": (*FIRST, "mean"),
}
"""What feeds a head in `transformers`, by family."""
WRITERS: dict[str, Callable[[Classifier, str], Head]] = {
    "gpt2": _without_bias,
    "llama": _without_bias,
    "bert": _after_pooler,
    "roberta": _after_tanh,
    "deberta": _after_nothing,
    "modernbert": _after_norm,
}
