"""A classifier from the first block that trains to its logits.

Shapes: B batch, T tokens, D width, C classes, N texts.
"""

import torch
from torch import Tensor

from components.models.architecture import Block
from components.models.classifier import Classifier
from components.models.config import Pooling
from components.models.fast import uses
from components.models.fast.states import States, by_length

AT_ONE: frozenset[Pooling] = frozenset({"last_token", "last_position", "first_token", "cls"})
"""The poolings for which the last block has to say something at one position only."""
TOKENS = {"cpu": 1024}
"""Tokens of a batch that is only classified: few enough for a processor's caches."""
TOKENS_ELSEWHERE = 4096


def finish(model: Classifier, states: Tensor, lengths: Tensor, blocks: int) -> Tensor:
    """Return the logits (B, C) for states (B, T, D) after the first `blocks` blocks, the first `lengths` (B,) of a row.

    Where padding is read it is among those: behind them stands nothing that belongs to a text. The blocks have no
    dropout.
    """
    position = torch.arange(states.shape[1], device=states.device)
    real = position < lengths[:, None]  # (B, T)
    visible = None if model.causal else real[:, None, None]
    later = model.transformer.blocks[blocks:]
    at_one = later.pop() if later and model.pooling in AT_ONE else None
    if later:
        states = states.float()
    for block in later:
        states = block(states, model.causal, visible, position)
    place = torch.zeros_like(lengths) if model.pooling in ("first_token", "cls") else lengths - 1
    if at_one is not None:
        seen = (position <= place[:, None]) if model.causal else real
        at_position = type(at_one).at_position if uses("folding") else Block.at_position
        pooled = model.transformer.final_norm(at_position(at_one, states, place, seen))
    elif model.pooling in AT_ONE:
        pooled = model.transformer.final_norm(states[torch.arange(len(states), device=states.device), place].float())
    else:
        pooled = (model.transformer.final_norm(states.float()) * real[:, :, None]).sum(dim=1) / lengths[:, None]
    return model.read(pooled)


@torch.inference_mode()
def classify_states(model: Classifier, states: States, rows: range) -> Tensor:
    """Return the logits (N, C) of some texts, in their order: fp32, on the CPU. The model is in evaluation mode."""
    device = model.head.weight.device
    logits = torch.empty(len(rows), model.head.out_features)
    tokens = TOKENS.get(device.type, TOKENS_ELSEWHERE)
    for batch in by_length(states.lengths[rows.start : rows.stop], tokens):
        values, lengths = states.batch([rows[index] for index in batch])
        logits[batch] = finish(model, values.to(device).float(), lengths.to(device), states.blocks).cpu()
    return logits
