from typing import Any

import pytest
from pydantic import ValidationError

from components.models.config import SIZES, GPTSize, ModelConfig


def test_a_size_is_given_by_name_or_in_numbers() -> None:
    tiny = {"layers": 2, "heads": 2, "width": 8, "context": 16}
    assert ModelConfig().shape == SIZES["124M"]
    assert ModelConfig(size=tiny, weights="random").shape == GPTSize(**tiny)
    assert ModelConfig.model_validate({"size": "355M", "weights": "random"}).shape.width == 1024


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"size": "125M"}, "124M"),
        ({"size": {"layers": 2, "heads": 3, "width": 8, "context": 16}}, "width 8 is not divisible by heads 3"),
        ({"size": {"layers": 0, "heads": 2, "width": 8, "context": 16}}, "greater than 0"),
        ({"size": {"layers": 2, "heads": 2, "width": 8, "context": 16, "depth": 3}}, "depth"),
        ({"dropout": 1.0}, "less than 1"),
        ({"dropout": -0.1}, "greater than or equal to 0"),
        ({"vocabulary": "gpt4"}, "neither gpt2, auto nor a .tiktoken file"),
        ({"weights": ""}, "at least 1 character"),
        ({"size": "355M"}, "set weights to openai-community/gpt2-medium"),
        ({"width": 8}, "Extra inputs"),
    ],
)
def test_a_bad_value_is_refused_by_name(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as raised:
        ModelConfig.model_validate(values)
    assert raised.value.error_count() == 1
