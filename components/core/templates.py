"""Texts with slots: `{name}` is one, `{{` and `}}` stand for a brace."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")


@dataclass(frozen=True)
class Template:
    """Literal text with slots in between: there is one literal more than there are names."""

    literals: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    @cache
    def of(cls, written: str) -> "Template":
        """Read `{title}: {body}`.

        Raises:
            ValueError: if a brace stands alone.
        """
        literals, names, end = [""], [], 0
        for piece in _PIECE.finditer(written):
            literals[-1] += written[end : piece.start()]
            end = piece.end()
            if piece[1]:
                names.append(piece[1])
                literals.append("")
            elif len(piece[0]) == 2:
                literals[-1] += piece[0][0]
            else:
                raise ValueError(f"{written!r} has a brace that stands alone; write {{name}}, or {{{{ or }}}} for one")
        literals[-1] += written[end:]
        return cls(tuple(literals), tuple(names))

    def fill(self, cells: Sequence[Iterable[str | None]]) -> list[str | None]:
        """Return a text a row, given the cells of each slot: a missing cell is empty, all missing are None.

        What a cell itself says in braces stays.
        """
        first, *others = self.literals
        return [
            first + "".join(f"{cell or ''}{literal}" for cell, literal in zip(row, others, strict=True))
            if any(row)
            else None
            for row in zip(*cells, strict=True)
        ]
