"""The switch of fast paths knows all of them, and no other."""

import re
from pathlib import Path

from components.models.fast import PATHS

COMPONENTS = Path(__file__).parents[3] / "components"


def test_every_path_asks_before_it_is_taken() -> None:
    asked = {
        name for path in COMPONENTS.rglob("*.py") for name in re.findall(r'uses\("([^"]+)"\)', path.read_text("utf-8"))
    }
    assert asked == set(PATHS)
