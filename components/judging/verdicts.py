"""A verdict, and how it is read from what a judge says."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

Status = Literal["scored", "unparsed"]

LONGEST_REASON = 1_000  # characters; the schema asks for a sentence
LONGEST_REPLY = 10_000


@dataclass(frozen=True)
class Verdict:
    """A judge's score from 0 to 100 and its reason; or none, and the reply that could not be read."""

    score: float | None
    reason: str = ""
    reply: str = ""

    @property
    def status(self) -> Status:
        """Whether there is a score."""
        return "unparsed" if self.score is None else "scored"


def scored(score: float, reason: str) -> Verdict:
    """Return a verdict with a score."""
    return Verdict(score, _storable(" ".join(reason.split()))[:LONGEST_REASON])


def unparsed(reply: str) -> Verdict:
    """Return a verdict without a score, which keeps the reply."""
    return Verdict(None, reply=_storable(reply)[:LONGEST_REPLY])


def read_verdict(reply: str) -> Verdict | None:
    """Return the verdict that a reply states, or None if it states none.

    The reply must hold exactly one JSON object at its top level that has a score; text around it (models without a
    schema like to introduce their answer, or to fence it) is passed over. With two such objects nobody knows which one
    is meant: one may be quoted from the response. The score is a whole number from 0 to 100, where `85.0` and `"85"`
    are whole numbers too; `150`, `85.5`, `"eighty"`, `true` and `null` are not. A reason may be missing, since nothing
    is computed from it, but must be a string where there is one.
    """
    stated = [found for found in _objects(reply) if "score" in found]
    if len(stated) != 1:
        return None
    try:
        said = _Reply.model_validate(stated[0])
    except ValidationError:
        return None
    return scored(said.score, said.reason or "")


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true and false are no scores")
    return value


class _Reply(BaseModel):
    score: Annotated[int, BeforeValidator(_no_truth), Field(ge=0, le=100)]
    reason: str | None = None


def _objects(reply: str) -> list[dict[str, Any]]:
    """Return the JSON objects of a text that do not stand in one another."""
    decoder = json.JSONDecoder(object_pairs_hook=_unambiguous)
    found, position = [], reply.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(reply, position)
        except (ValueError, RecursionError):
            # Half an object, or none: what stands inside of it was not said at the top level.
            return []
        found.append(value)
        position = reply.find("{", end)
    return found


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _storable(text: str) -> str:
    """Return a text without the halves of characters that JSON's escapes can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
