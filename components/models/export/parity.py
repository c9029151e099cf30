"""Whether an exported model computes what the original does: logits and greedy tokens on fixed prompts.

Shapes: T tokens, V vocabulary, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from components.conversations import Entry
from components.core.config import Config
from components.core.errors import ExportFailed
from components.core.progress import progress_bar
from components.models.classifier import classify
from components.models.export.hf import Loaded
from components.models.padding import cut
from components.models.saved.classifier import LoadedClassifier
from components.models.saved.language_model import LoadedGPT
from components.models.tokenizer import closing, encode_prompts, encode_whole, end_of_text, ends_of_text

PROMPTS = (
    "Name the capital of France.",
    "You won a prize! Call 0800 123 456 now, or text WIN to 87121.",
    "Rewrite the sentence in the past tense: She goes to the market.",
    "안녕하세요, 3만 5천원입니다. Ünïcödé “quotes” 👩‍👩‍👧",
    "x = [i**2 for i in range(10)]\n\n  return x",
)
"""What both are asked."""
NEW_TOKENS = 8
"""Greedy tokens that are compared after each prompt."""


class Bound(Config):
    """How far logits may be from those of the original."""

    value: float
    """The bound."""
    relative: bool = False
    """Whether it is one of the root mean square difference in standard deviations of the logits, as for rounded
    weights, and not one of the largest difference, in logits of up to `USUAL`."""

    def __str__(self) -> str:
        return f"{self.value:g}{' (root mean square, of the standard deviation)' if self.relative else ''}"


EXACT = Bound(value=1e-4)
"""For weights in fp32."""
USUAL = 10.0
"""What fp32 rounds away grows with the numbers: differences of larger logits are divided by how many times as large the
largest is. Those of a language model that was taught reach 30 and more, and an adapter apart rounds otherwise than one
that is merged."""


class Parity(Config):
    """What came of a comparison."""

    format: str
    """What was exported: `hf`, `gguf q8_0` ..."""
    peer: str
    """What loaded it."""
    difference: float
    """The difference of logits that `bound` bounds."""
    bound: Bound
    """How large it may be."""
    prompts: int
    """How many prompts were compared."""
    tokens: int
    """Greedy tokens that were compared; 0 for a classifier."""

    def __str__(self) -> str:
        tokens = f", {self.tokens} greedy tokens equal" if self.tokens else ""
        return (
            f"{self.format}: loaded by {self.peer}, logits of {self.prompts} prompts differ by {self.difference:.2g}, "
            f"bound {self.bound}{tokens}"
        )


@dataclass(frozen=True)
class Peer:
    """An exported model, loaded again."""

    name: str
    logits: Callable[[list[int]], Tensor]
    """From tokens to logits: (T, V) of a language model, (C,) of a classifier."""
    generate: Callable[[list[int], int], list[int]] | None = None
    """From tokens to at most so many greedy ones after them, the end among them; None: by the logits."""


def check_parity(
    loaded: Loaded, peer: Peer, form: str, bound: Bound = EXACT, rounded: LoadedGPT | None = None
) -> Parity:
    """Compare an exported model with the original.

    A greedy token counts as equal also where the original finds both nearly as likely: as near as the logits differ.

    Args:
        loaded: the original.
        peer: what was exported, loaded again.
        form: what it was exported to, for people.
        bound: how far its logits may be from the original's.
        rounded: the original with weights that are rounded as they were: from it nothing may differ.

    Raises:
        ExportFailed: if they differ by more than `bound`.
    """
    rows, pairs, exact = _rows(loaded), [], []
    with progress_bar(f"compare {form}", len(rows), "prompts") as update:
        for place, row in enumerate(rows):
            theirs = peer.logits(row).float()
            pairs.append((logits_of(loaded, row), theirs))
            exact.append((logits_of(rounded, row), theirs) if rounded else pairs[-1])
            update(completed=place + 1)
    difference = _checked(pairs, bound, form, peer)
    if rounded:
        _checked(exact, EXACT, f"{form}, beside weights that are rounded likewise", peer)
    tokens, reference = 0, rounded or loaded
    if isinstance(reference, LoadedGPT):
        near = 2 * max(float((ours - theirs).abs().max()) for ours, theirs in exact) + 1e-6
        tokens = sum(_compare_tokens(reference, peer, row, form, near) for row in rows)
    return Parity(format=form, peer=peer.name, difference=difference, bound=bound, prompts=len(rows), tokens=tokens)


def _checked(pairs: Sequence[tuple[Tensor, Tensor]], bound: Bound, form: str, peer: Peer) -> float:
    """Return how far logits are from those that they should be, if that is not too far."""
    difference = _difference(pairs, bound)
    if not difference <= bound.value:  # NaN is no number that is small
        raise ExportFailed(
            f"{form}: loaded again by {peer.name}, its logits differ from the model's by {difference:.3g}, more than "
            f"{bound}; nothing was written"
        )
    return difference


def _rows(loaded: Loaded) -> list[list[int]]:
    """Return the prompts as the model reads them, without those that leave no room for an answer."""
    if isinstance(loaded, LoadedClassifier):
        kept = closing(loaded.encoding)
        return [cut(row, loaded.card.max_length, kept) for row in encode_whole(loaded.encoding, PROMPTS)]
    entries = [Entry(text, "") for text in PROMPTS]
    rows = encode_prompts(loaded.encoding, loaded.card.template, entries)
    return [row[: max(loaded.card.size.context - NEW_TOKENS, 1)] for row in rows]


@torch.inference_mode()
def logits_of(loaded: Loaded, tokens: list[int]) -> Tensor:
    """Return what the original computes: (T, V) of a language model, (C,) of a classifier; fp32, on the CPU."""
    if isinstance(loaded, LoadedClassifier):
        return classify(loaded.model, [tokens], end_of_text(loaded.encoding), loaded.card.padding)[0]
    device = loaded.model.head.device
    logits: Tensor = loaded.model(torch.tensor([tokens], device=device))[0].float().cpu()
    return logits


def _difference(pairs: Sequence[tuple[Tensor, Tensor]], bound: Bound) -> float:
    if any(ours.shape != theirs.shape for ours, theirs in pairs):
        return float("inf")
    if not bound.relative:
        largest = max(float(ours.abs().max()) for ours, _ in pairs)
        return max(float((ours - theirs).abs().max()) for ours, theirs in pairs) / max(largest / USUAL, 1)
    ours, theirs = (torch.cat([pair[place].flatten() for pair in pairs]).double() for place in (0, 1))
    return float((ours - theirs).square().mean().sqrt() / ours.std())


def greedy(logits: Callable[[list[int]], Tensor], tokens: list[int], most: int, ends: Sequence[int]) -> list[int]:
    """Return at most so many likeliest tokens one after the other, up to an end."""
    found: list[int] = []
    while len(found) < most and not (found and found[-1] in ends):
        found.append(int(logits([*tokens, *found])[-1].argmax()))
    return found


def _compare_tokens(loaded: LoadedGPT, peer: Peer, row: list[int], form: str, near: float) -> int:
    """Return how many greedy tokens are equal, up to the first that is not and may not be.

    One run of the original over a row and what the peer says after it tells of each token whether it is the likeliest.

    Raises:
        ExportFailed: if one is less likely than that by more than `near`, or the peer ends elsewhere.
    """
    ends, most = ends_of_text(loaded.encoding), min(NEW_TOKENS, loaded.card.size.context - len(row))
    theirs = peer.generate(row, most) if peer.generate else greedy(peer.logits, row, most, ends)
    chances = logits_of(loaded, [*row, *theirs])[len(row) - 1 :]
    for place, token in enumerate(theirs):
        likeliest = int(chances[place].argmax())
        if likeliest != token and float(chances[place, likeliest] - chances[place, token]) <= near:
            return place
        if likeliest != token or (place > 0 and theirs[place - 1] in ends):
            break
    else:
        if len(theirs) == most or (theirs[-1:] and theirs[-1] in ends):
            return len(theirs)
    raise ExportFailed(
        f"{form}: loaded again by {peer.name}, it goes on with other tokens than the model, or ends elsewhere: "
        f"{theirs}; nothing was written"
    )
