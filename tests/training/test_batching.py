"""Rows of tokens to padded batches."""

import torch

from components.training.batching import Examples, in_batches, pad, shuffled, steps_per_epoch

EXAMPLES = Examples.of([[1, 2, 3], [4], [], [5, 6]], [0, 1, 0, 1])


def test_padding_to_the_longest_of_the_batch() -> None:
    batch = pad(EXAMPLES, [3, 0], pad_id=9, length=None)
    assert batch.tokens.tolist() == [[5, 6, 9], [1, 2, 3]]
    assert batch.lengths.tolist() == [2, 3]
    assert batch.labels.tolist() == [1, 0]


def test_padding_to_a_length() -> None:
    assert pad(EXAMPLES, [1], pad_id=9, length=4).tokens.tolist() == [[4, 9, 9, 9]]


def test_a_text_without_tokens_becomes_one_pad_token() -> None:
    batch = pad(EXAMPLES, [2], pad_id=9, length=None)
    assert batch.tokens.tolist() == [[9]]
    assert batch.lengths.tolist() == [1]


def test_the_tutorials_batch_counts() -> None:
    assert steps_per_epoch(1045, 8) == 130
    for rows, batches in ((149, 19), (300, 38)):
        assert len(list(in_batches(range(rows), 8))) == batches


def test_an_epoch_sees_every_row_at_most_once_and_another_order_each_time() -> None:
    generator = torch.Generator().manual_seed(0)
    epochs = [list(shuffled(21, 4, generator)) for _ in range(2)]
    for epoch in epochs:
        rows = [row for batch in epoch for row in batch]
        assert len(rows) == len(set(rows)) == 20
    assert epochs[0] != epochs[1]


def test_fewer_rows_than_a_batch_make_one_batch() -> None:
    assert [sorted(rows) for rows in shuffled(4, 8, torch.Generator())] == [[0, 1, 2, 3]]


def test_rows_are_kept_flat_and_cut_to_a_limit() -> None:
    assert [EXAMPLES.tokens(row) for row in range(4)] == [[1, 2, 3], [4], [], [5, 6]]
    assert EXAMPLES.lengths.tolist() == [3, 1, 0, 2]
    cut = EXAMPLES.cut(2)
    assert [cut.tokens(row) for row in range(4)] == [[1, 2], [4], [], [5, 6]]
    assert cut.lengths.tolist() == [2, 1, 0, 2]
    assert cut.cut(5).lengths.tolist() == cut.cut(None).lengths.tolist() == [2, 1, 0, 2]
