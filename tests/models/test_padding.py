import pytest

from components.models.padding import pad


def test_rows_are_padded_to_the_longest_or_to_a_length() -> None:
    tokens, lengths = pad([[1, 2, 3], [], [4]], 9)
    assert tokens.tolist() == [[1, 2, 3], [9, 9, 9], [4, 9, 9]]
    assert lengths.tolist() == [3, 1, 1]
    assert pad([[1, 2, 3]], 9, 5)[0].tolist() == [[1, 2, 3, 9, 9]]
    with pytest.raises(ValueError, match="a row of 3 tokens cannot be padded to 2"):
        pad([[1, 2, 3]], 9, 2)


def test_rows_padded_on_the_left_end_in_one_column() -> None:
    tokens, lengths = pad([[5, 6], [7], [1, 2, 3]], 9, left=True)
    assert tokens.tolist() == [[9, 5, 6], [9, 9, 7], [1, 2, 3]]
    assert lengths.tolist() == [2, 1, 3]
    assert pad([[5, 6]], 9, 4, left=True)[0].tolist() == [[9, 9, 5, 6]]
