"""Lists and tables in Markdown."""

import re
from collections.abc import Iterable

DESCRIPTION_LIMIT = 4900
"""Characters of a version's description; MLflow's registry keeps 5,000."""


def bullets(sentences: Iterable[str]) -> str:
    """Return a list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def shortened(text: str) -> str:
    """Return a text cut to what the registry keeps of a description."""
    return text if len(text) <= DESCRIPTION_LIMIT else text[: DESCRIPTION_LIMIT - 1] + "…"
