"""Learning to respond: the cross entropy of the next token of an entry.

Shapes: B batch, T tokens, D width, V vocabulary, N entries.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from components.models.devices import autocast
from components.models.fast.prefixes import Distinct, distinct, distinct_states, shares_prefixes
from components.models.fast.unpadded import MULTIPLE
from components.models.language_model import LanguageModel
from components.models.padding import pad
from components.models.pretrained.turns import Prompt
from components.training.batching import Movable, TokenRows, end_to_end, grouped_by_length
from components.training.config import InstructionTrainConfig, rows_per_step
from components.training.objectives import Measured, ObjectiveOf, Split

IGNORED = -100
"""The target of a position from which nothing is learnt, as `torch.nn.functional.cross_entropy` has it."""


@dataclass(frozen=True)
class Entries(TokenRows):
    """N tokenised entries: a prompt and its completion each, without an end-of-text token.

    `prompts` (N) says how many of an entry's tokens are prompt, `said` (as `ids`) which of these an assistant said
    before, which is learnt too; None if none did. An entry is read up to its last token, which predicts the end, and no
    further than `limit` tokens.
    """

    prompts: NDArray[np.int64]
    said: NDArray[np.bool_] | None = field(default=None, kw_only=True)
    cut_conversations: int = field(default=0, kw_only=True)
    """How many entries lack their first turns, for which there was no room."""

    @classmethod
    def of(cls, pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> Self:
        """Return the entries with these prompts and completions."""
        return cls.of_prompts((Prompt(list(prompt), [], 2, False), completion) for prompt, completion in pairs)

    @classmethod
    def of_prompts(cls, pairs: Iterable[tuple[Prompt, Sequence[int]]]) -> Self:
        """Return the entries with these prompts and completions, and what was said in them."""
        lengths, said, cut = list[int](), bytearray(), 0

        def rows() -> Iterator[list[int]]:
            nonlocal cut
            for prompt, completion in pairs:
                row = [*prompt.tokens, *completion]
                lengths.append(len(prompt.tokens))
                said.extend(bytes(prompt.said).ljust(len(row), b"\0"))
                cut += prompt.cut
                yield row

        ids, offsets = end_to_end(rows())
        marks = np.frombuffer(said, np.bool_)
        prompts, found = np.asarray(lengths, dtype=np.int64), marks if marks.any() else None
        return cls(ids, offsets, prompts, said=found, cut_conversations=cut)

    @cached_property
    def prefix(self) -> int:
        """How many tokens all entries begin with."""
        starts, least = self.offsets[:-1], int(self.lengths.min(initial=self.limit or len(self.ids)))
        alike = (bool((self.ids[starts + place] == self.ids[starts[:1] + place]).all()) for place in range(least))
        return sum(takewhile(bool, alike)) if len(self) else 0

    def targets(self, row: int, end: int, mask_prompt: bool) -> list[int]:
        """Return what follows each token that is read, the next one, and `end` after the last; `IGNORED` is masked."""
        start, stop = self.offsets[row : row + 2]
        following: list[int] = [*self.ids[start + 1 : stop].tolist(), end]
        # The prompt's last token is the one that predicts the response's first.
        hidden = max(int(self.prompts[row]) - 1, 0) if mask_prompt else 0
        masked = [IGNORED] * hidden
        if hidden and self.said is not None:
            said = self.said[start + 1 : start + 1 + hidden]
            masked = np.where(said, following[:hidden], IGNORED).tolist()
        return (masked + following[hidden:])[: self.limit]

    def trained(self, mask_prompt: bool, rows: list[int] | slice = slice(None)) -> NDArray[np.int64]:
        """Return how many targets of every entry, or of some, are learnt from (N)."""
        hidden = np.maximum(self.prompts[rows] - 1, 0) if mask_prompt else 0
        trained: NDArray[np.int64] = np.maximum(self.lengths[rows] - hidden, 0)
        if mask_prompt and self.said is not None:
            trained += self._said_before[rows]
        return trained

    @cached_property
    def _said_before(self) -> NDArray[np.int64]:
        """How many of the tokens that are read or predicted an assistant said before the response (N)."""
        assert self.said is not None
        counts = np.append(0, np.cumsum(self.said))
        starts = self.offsets[:-1]
        found: NDArray[np.int64] = counts[np.minimum(starts + self.lengths + 1, self.offsets[1:])] - counts[starts]
        return found

    def trained_share(self, mask_prompt: bool) -> float:
        """Return the share of the tokens from which something is learnt."""
        return int(self.trained(mask_prompt).sum()) / int(self.lengths.sum())


@dataclass(frozen=True)
class TokenBatch(Movable):
    """Tokens (B, T), what follows each (B, T), `IGNORED` where nothing is learnt, and what is learnt from.

    Of its states, flattened, those at `learnt` (N,) predict what is `following` (N,), which stands `times` (N,) in the
    batch: more than once where rows share a state (`distinct`), not at all where N is rounded up. There are
    `targets_in_all` to learn.
    Packed, a row holds several entries: `positions` (B, T) begin anew with each, and `visible` (B, T, T) says which
    tokens each one sees.
    """

    tokens: Tensor
    targets: Tensor
    learnt: Tensor
    following: Tensor
    times: Tensor
    targets_in_all: int
    positions: Tensor | None = None
    visible: Tensor | None = None
    distinct: Distinct | None = None

    def sharing(self, distinct: Distinct | None) -> "TokenBatch":
        """Return the batch with the states that rows share computed once, and what follows them alike learnt once."""
        if distinct is None:
            return self
        pairs = torch.stack([distinct.source.flatten()[self.learnt], self.following])
        (learnt, following), times = torch.unique(pairs, dim=1, return_counts=True)
        return replace(self, learnt=learnt, following=following, times=times, distinct=distinct)

    def rounded(self) -> "TokenBatch":
        """Return the batch with N rounded up to a multiple: oneDNN makes kernels for every new shape, and keeps them.

        Rounded, batches also ask for logits of a few sizes only, so that the memory of one serves the next.
        """
        count = len(self.learnt)
        learnt, following, times = (
            F.pad(each, (0, -count % MULTIPLE)) for each in (self.learnt, self.following, self.times)
        )
        return replace(self, learnt=learnt, following=following, times=times)


def collate(tokens: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], pad_id: int) -> TokenBatch:
    """Pad rows to the longest of them: with `pad_id`, from which nothing is learnt."""
    padded, _ = pad(targets, IGNORED)
    learnt = (padded.flatten() != IGNORED).nonzero()[:, 0]
    following, once = padded.flatten()[learnt], torch.ones_like(learnt)
    return TokenBatch(pad(tokens, pad_id)[0], padded, learnt, following, once, len(learnt))


def pack(tokens: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], pad_id: int, room: int) -> TokenBatch:
    """Put rows one after the other into as few rows of at most `room` tokens as first fit, longest first, finds.

    Attention is block-diagonal and positions restart, so that an entry does not see its neighbours (Krell et al.,
    "Efficient Sequence Packing without Cross-contamination", 2021).
    """
    bins = _first_fit([len(row) for row in tokens], room)
    batch = collate(
        [[token for row in each for token in tokens[row]] for each in bins],
        [[target for row in each for target in targets[row]] for each in bins],
        pad_id,
    )
    width = batch.tokens.shape[1]
    places, entry = torch.zeros(len(bins), width, dtype=torch.int64), torch.full((len(bins), width), -1)
    for line, each in enumerate(bins):
        lengths = [len(tokens[row]) for row in each]
        places[line, : sum(lengths)] = torch.cat([torch.arange(length) for length in lengths])
        entry[line, : sum(lengths)] = torch.repeat_interleave(torch.tensor(each), torch.tensor(lengths))
    same = entry[:, :, None] == entry[:, None, :]  # padding sees padding, for a row that sees nothing has no softmax
    return replace(batch, positions=places, visible=same.tril())


def _first_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Deal numbers of rows to bins that hold `room` tokens, or one row that is longer."""
    bins: list[list[int]] = []
    left: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        place = next((place for place, free in enumerate(left) if free >= lengths[row]), len(bins))
        if place == len(bins):
            bins.append([])
            left.append(room)
        bins[place].append(row)
        left[place] -= lengths[row]
    return bins


@dataclass
class Instruction(ObjectiveOf[LanguageModel, Entries, InstructionTrainConfig]):
    """A language model and entries whose tokens it learns to predict."""

    end: int
    """The token that ends a response, which also pads."""
    is_language_model = True

    def epoch(self, order: torch.Generator) -> Iterator[list[int]]:
        """Yield the training entries of each step of one epoch, in random order."""
        if self.config.batching == "length":
            return grouped_by_length(self.train.lengths, rows_per_step(self.config), order)
        return super().epoch(order)

    def padded(self, split: Split, rows: list[int]) -> int:
        """Return how many tokens these entries have as one batch; packed they are taken to have no padding."""
        packed = self.config.batching == "packed"
        return int(self.rows(split).lengths[rows].sum()) if packed else super().padded(split, rows)

    def work(self, split: Split, rows: list[int]) -> float:
        """Return how much work these entries are as one batch, in tokens: logits are made where there is a target."""
        targets = int(self.rows(split).trained(self.config.mask_prompt, rows).sum())
        shared = (len(rows) - 1) * self.rows(split).prefix if self._shares_prefixes else 0
        tokens = self.padded(split, rows) - shared
        return tokens + targets * self.model.head.numel() / self.model.transformer.products()

    def batch(self, split: Split, rows: list[int]) -> TokenBatch:
        """Return these entries of a split, padded or packed."""
        entries = self.rows(split)
        tokens = [entries.tokens(row) for row in rows]
        targets = [entries.targets(row, self.end, self.config.mask_prompt) for row in rows]
        if self.config.batching == "packed":
            batch = pack(tokens, targets, self.end, self.model.transformer.size.context)
        else:
            batch = collate(tokens, targets, self.end)
        if self._shares_prefixes:
            batch = batch.sharing(distinct(batch.tokens, torch.from_numpy(entries.lengths[rows])))
        return batch.rounded().to(self.device)

    @cached_property
    def _shares_prefixes(self) -> bool:
        """Whether what entries begin with is computed once a batch: on a GPU, and with dropout, it is not."""
        return self.device.type == "cpu" and self.config.batching != "packed" and shares_prefixes(self.model)

    def weight(self, rows: list[int]) -> Tensor:
        """Return how many tokens of these training entries are learnt from, at least one."""
        return torch.tensor(max(int(self.train.trained(self.config.mask_prompt, rows).sum()), 1), device=self.device)

    def measure(self, batch: TokenBatch) -> Measured:
        """Predict the targets of a batch; logits are made where there is one, and nowhere else."""
        with autocast(self.device, self.precision):
            logits = F.linear(self._hidden(batch)[batch.learnt], self.model.head).float()  # (N, V)
        loss = (F.cross_entropy(logits, batch.following, reduction="none") * batch.times).sum()
        right = ((logits.argmax(dim=-1) == batch.following) * batch.times).sum()
        count = batch.targets_in_all
        return Measured(loss, torch.tensor(float(count)), right, count)

    def _hidden(self, batch: TokenBatch) -> Tensor:
        """Return the hidden states of a batch, (B * T, D), or of what is distinct in it."""
        network = self.model.transformer
        if batch.distinct is not None:
            return distinct_states(network, batch.tokens, batch.distinct)
        causal = batch.visible is None
        hidden: Tensor = network(batch.tokens, causal=causal, visible=batch.visible, positions=batch.positions)
        return hidden.flatten(0, 1)
