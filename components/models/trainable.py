"""Which parameters of a network train."""

from torch import nn

from components.models.classifier import Classifier
from components.models.config import Trainable
from components.models.language_model import LanguageModel
from components.models.lora import is_adapter


def set_trainable(model: Classifier | LanguageModel, trainable: Trainable) -> None:
    """Let the named part of a network train, and freeze the rest.

    `last_block` and `last_two_blocks` include the final norm, a pooler and the head; `lora` is the adapters that
    `components.models.lora.add_adapters` has put in, and a classifier's head, which has learnt nothing yet. A language
    model's head trains with the token embedding that it is tied to, or by itself.
    """
    transformer = model.transformer
    head, norm = _head(model), [transformer.final_norm, *filter(None, [transformer.pooler])]
    new = [model.head] if isinstance(model, Classifier) else []
    parts: dict[Trainable, list[nn.Module]] = {
        "last_layer": head,
        "last_block": [*transformer.blocks[-1:], *norm, *head],
        "last_two_blocks": [*transformer.blocks[-2:], *norm, *head],
        "all": [model],
        "lora": [*new],
    }
    model.requires_grad_(False)
    for part in parts[trainable]:
        part.requires_grad_(True)
    if trainable == "lora":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad or is_adapter(name))


def _head(model: Classifier | LanguageModel) -> list[nn.Module]:
    if isinstance(model, Classifier):
        return [model.head]
    return [model.transformer.embedding if model.lm_head is None else model.lm_head]
