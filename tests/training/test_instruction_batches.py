"""Entries to batches: what is read, what is learnt, and that neighbours in a row do not see each other."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from components.models.config import GPTSize
from components.models.fast import without
from components.models.fast.unpadded import MULTIPLE
from components.models.gpt2 import GPT2
from components.models.language_model import LanguageModel
from components.training.batching import grouped_by_length
from components.training.config import InstructionTrainConfig
from components.training.objectives.instruction import IGNORED, Entries, Instruction, TokenBatch, collate, pack

END = 50256
BOOK = [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]]
CPU = torch.device("cpu")


def entries(*pairs: tuple[list[int], list[int]], limit: int | None = None) -> Entries:
    return Entries.of(pairs).cut(limit)


def objective(rows: Entries, model: LanguageModel | None = None, **options: object) -> Instruction:
    if model is None:
        model = LanguageModel(GPT2(GPTSize(layers=2, heads=2, width=16, context=32), 60))
        model.initialise(3)
    config = InstructionTrainConfig(**options)
    return Instruction(model.eval(), rows, rows, config, CPU, "fp32", end=59)


def test_the_tutorials_example_comes_out_as_in_the_book() -> None:
    rows = entries(*(([row[0]], row[1:]) for row in BOOK))
    batch = collate([rows.tokens(row) for row in range(3)], [rows.targets(row, END, False) for row in range(3)], END)
    assert batch.tokens.tolist() == [[0, 1, 2, 3, 4], [5, 6, END, END, END], [7, 8, 9, END, END]]
    assert batch.targets.tolist() == [[1, 2, 3, 4, END], [6, END, -100, -100, -100], [8, 9, END, -100, -100]]


@pytest.mark.ci
@pytest.mark.parametrize("limit", [None, 4, 2, 1])
def test_the_collate_function_is_the_tutorials(limit: int | None) -> None:
    ch07 = pytest.importorskip("llms_from_scratch.ch07")
    random = np.random.default_rng(0)
    for _ in range(20):
        lengths = random.integers(1, 9, size=4)
        rows = [random.integers(0, 100, size=length).tolist() for length in lengths]
        ours = entries(*(([row[0]], row[1:]) for row in rows), limit=limit)
        batch = collate(
            [ours.tokens(row) for row in range(4)], [ours.targets(row, END, False) for row in range(4)], END
        )
        tokens, targets = ch07.custom_collate_fn(rows, END, IGNORED, allowed_max_length=limit)
        assert batch.tokens.tolist() == tokens.tolist()
        assert batch.targets.tolist() == targets.tolist()


def test_a_masked_prompt_leaves_the_response_and_its_end() -> None:
    rows = entries(([1, 2, 3], [4, 5]), ([6], []), ([7, 8], [9]))
    assert rows.targets(0, END, mask_prompt=True) == [IGNORED, IGNORED, 4, 5, END]
    assert rows.targets(1, END, mask_prompt=True) == [END]
    assert rows.targets(2, END, mask_prompt=True) == [IGNORED, 9, END]
    assert rows.trained(mask_prompt=True).tolist() == [3, 1, 2]
    assert rows.trained(mask_prompt=False).tolist() == rows.lengths.tolist() == [5, 1, 3]
    cut = rows.cut(3)
    assert cut.targets(0, END, mask_prompt=True) == [IGNORED, IGNORED, 4]
    assert rows.cut(2).trained(mask_prompt=True).tolist() == [0, 1, 1]
    for limit in (1, 2, 3, 4, 5, 9):
        for row in range(3):
            targets = rows.cut(limit).targets(row, END, mask_prompt=True)
            assert len(targets) == len(rows.cut(limit).tokens(row))
            assert sum(target != IGNORED for target in targets) == rows.cut(limit).trained(True)[row]


def test_packed_rows_hold_every_token_once_and_positions_restart() -> None:
    tokens = [[1, 2, 3, 4], [5], [6, 7], [8, 9, 10]]
    batch = pack(tokens, tokens, pad_id=0, room=5)
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 5], [8, 9, 10, 6, 7]]
    assert batch.positions is not None
    assert batch.visible is not None
    assert batch.positions.tolist() == [[0, 1, 2, 3, 0], [0, 1, 2, 0, 1]]
    assert batch.visible[0].int().tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 1],
    ]  # fmt: skip
    rows = [[1, 2, 3], [4] * 9, [5, 6, 7], [8, 9]]
    packed = pack(rows, rows, pad_id=0, room=5).tokens.tolist()
    assert packed[0] == rows[1], "what is longer than the room goes alone"
    assert packed[1:] == [[*rows[0], *rows[3], 0, 0, 0, 0], [*rows[2], 0, 0, 0, 0, 0, 0]]


@pytest.mark.ci
@pytest.mark.parametrize("mask_prompt", [True, False])
def test_packed_and_padded_losses_and_gradients_are_equal(mask_prompt: bool) -> None:
    random = np.random.default_rng(1)
    pairs = [
        (random.integers(0, 58, size=random.integers(1, 6)).tolist(), random.integers(0, 58, size=count).tolist())
        for count in random.integers(0, 9, size=12)
    ]
    rows = entries(*pairs)
    ways = {}
    for batching in ("padded", "packed"):
        learnt = objective(rows, batching=batching, mask_prompt=mask_prompt)
        measured = learnt.measure(learnt.batch("train", list(range(12))))
        measured.loss.backward()
        gradients = torch.cat(
            [tensor.grad.flatten() for tensor in learnt.model.parameters() if tensor.grad is not None]
        )
        ways[batching] = (measured, gradients, learnt)
    (padded, theirs, learnt), (packed, ours, _) = ways["padded"], ways["packed"]
    assert packed.loss.item() == pytest.approx(padded.loss.item(), abs=1e-4)
    assert packed.weight == padded.weight == rows.trained(mask_prompt).sum() == learnt.weight(list(range(12)))
    assert packed.right == padded.right
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    # And both are what each entry says by itself.
    alone = sum(learnt.measure(learnt.batch("train", [row])).loss.item() for row in range(12))
    assert alone == pytest.approx(padded.loss.item(), abs=1e-4)


@pytest.mark.parametrize("mask_prompt", [True, False])
def test_entries_that_begin_alike_are_learnt_from_as_if_each_were_alone(mask_prompt: bool) -> None:
    random = np.random.default_rng(4)
    preamble = list(range(9))
    pairs = [([*preamble, row % 3], random.integers(0, 58, size=row).tolist()) for row in range(8)]
    rows = entries(*pairs, pairs[-1])
    assert rows.prefix == len(preamble)
    shared = objective(rows, mask_prompt=mask_prompt)
    with without("shared prefixes"):
        plain = objective(rows, model=deepcopy(shared.model), mask_prompt=mask_prompt)
        whole = plain.batch("train", list(range(9)))
    batch = shared.batch("train", list(range(9)))
    assert batch.distinct is not None
    assert whole.distinct is None
    assert batch.times.max() > 1
    ways = []
    for learnt, each in ((shared, batch), (plain, whole)):
        measured = learnt.measure(each)
        measured.loss.backward()
        ways.append((measured, [tensor.grad for tensor in learnt.model.parameters()]))
    (ours, gradients), (theirs, expected) = ways
    assert ours.loss.item() == pytest.approx(theirs.loss.item(), abs=1e-4)
    assert (ours.right, ours.weight, ours.predictions) == (theirs.right, theirs.weight, theirs.predictions)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert shared.work("train", [0, 1]) < plain.work("train", [0, 1])


def test_a_packed_entry_does_not_see_its_neighbours() -> None:
    first, second = [5, 6, 7, 8], [9, 10, 11]
    rows = entries((first, []), (second, []))
    other = entries(([20, 21, 22, 23], []), (second, []))
    model = objective(rows).model
    hidden = []
    for each in (rows, other):
        batch = objective(each, model, batching="packed", mask_prompt=False).batch("train", [0, 1])
        hidden.append(model.transformer(batch.tokens, False, batch.visible, batch.positions)[0, 4:])
    torch.testing.assert_close(hidden[0], hidden[1])
    torch.testing.assert_close(hidden[0], model.transformer(torch.tensor([second]))[0], atol=1e-5, rtol=1e-5)


def test_logits_are_those_of_the_whole_model() -> None:
    rows = entries(([1, 2], [3, 4]), ([5], [6]))
    learnt = objective(rows, mask_prompt=True)
    batch = learnt.batch("train", [0, 1])
    expected = torch.nn.functional.cross_entropy(
        learnt.model(batch.tokens).flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    measured = learnt.measure(batch)
    assert measured.loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert measured.predictions == 5


def test_the_number_of_states_that_are_learnt_from_is_rounded_up_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = entries(([1, 2], [3, 4]), ([5], [6]))
    learnt = objective(rows, mask_prompt=True)
    ways = []
    for _ in range(2):
        batch = learnt.batch("train", [0, 1])
        measured = learnt.measure(batch)
        measured.loss.backward()
        ways.append((measured, [tensor.grad.clone() for tensor in learnt.model.parameters()], len(batch.learnt)))
        learnt.model.zero_grad()
        monkeypatch.setattr(TokenBatch, "rounded", lambda batch: batch)
    (ours, gradients, count), (theirs, expected, exact) = ways
    assert (count, exact) == (MULTIPLE, 5)
    assert ours.loss.item() == pytest.approx(theirs.loss.item(), abs=1e-5)
    assert (ours.right, ours.weight, ours.predictions) == (theirs.right, theirs.weight, theirs.predictions)
    torch.testing.assert_close(gradients, expected)


def test_grouping_puts_like_lengths_together_and_takes_every_row_once() -> None:
    lengths = np.random.default_rng(2).integers(1, 100, size=403)
    order = torch.Generator().manual_seed(0)
    epochs = [list(grouped_by_length(lengths, 8, order)) for _ in range(2)]
    for epoch in epochs:
        rows = [row for step in epoch for row in step]
        assert len(rows) == len(set(rows)) == 400
        assert all(len(step) == 8 for step in epoch)
        padded = sum(8 * int(lengths[step].max()) for step in epoch)
        assert padded < 1.3 * lengths[rows].sum()
    assert epochs[0] != epochs[1]
    assert sorted(map(sorted, epochs[0])) != sorted(map(sorted, epochs[1]))
