"""Every error Gradus raises on purpose.

GradusError                 something failed; exit code 1
|-- ConfigError             a preset, an override or a combination of options is wrong; exit code 2
|-- DataRejected            the data did not pass validation; exit code 3
|-- DownloadError           a source could not be fetched
|   |-- TransientError      ... for now: the connection, or the server
|   |-- UnpackError         ... or what was fetched could not be unpacked safely
|   `-- HashMismatch        ... or is not the file that was asked for
|-- TableError              a file could not be read as a table
|-- WeightsError            a model's weights or vocabulary could not be found or do not fit
|-- TrainingError           training cannot go on
|-- JudgeError              a judge refused, or too many of its replies could not be read
|   `-- JudgeUnreachable    ... or its server is down, stalls, or went away
|-- NotComparable           two runs have no test rows in common on which they can be compared
|-- NoRoom                  a disk is full
|-- OutOfMemory             a step got no memory
|-- ExportFailed            an exported model does not compute what the original does
|-- PromotionRefused        a model may not become the champion
`-- TrackingError           an MLflow run, model or store could not be reached or written

A message is one line: what, where, and what to do about it; or one for each key of a config, each column of a table.
Secrets are taken out of it, and what a terminal would obey: it may quote what strangers have written.
"""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from components.core.redaction import redact

LONGEST_LINE = 1000
"""Characters of an error's line that are shown and recorded."""
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""What a terminal obeys or cannot write: controls, turns of the direction of writing, halves of characters."""


def shortened(text: str, limit: int = LONGEST_LINE) -> str:
    """Return a text of at most `limit` characters: its beginning, and its end, where errors say what to do."""
    if len(text) <= limit:
        return text
    gap = f" ... [{len(text) - limit:,} more characters] ... "
    end = (limit - len(gap)) // 3
    return f"{text[: limit - len(gap) - end]}{gap}{text[len(text) - end :]}"


def harmless(text: str) -> str:
    """Return a text in which what a terminal would obey is written as an escape, such as `\\x1b`."""
    return OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the end of a line about an unknown word: the known one that is close to it, or else another hint."""
    known = list(known)
    if close := get_close_matches(word, known, n=1, cutoff=0.5):
        return f", did you mean {close[0]!r}?"
    return f"; {otherwise}" if otherwise else f"; known here: {', '.join(known)}"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, the one that it came from, and so on; raised again in another thread, they may go in a circle."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__ or error.__context__


def is_panic(error: BaseException) -> bool:
    """Tell whether a library written in Rust has given up, which it says by an error that is no `Exception`."""
    return type(error).__name__ == "PanicException"


def cause_of(error: BaseException) -> str:
    """Return the first line of the error at the bottom, which says more than those raised around it."""
    *_, last = causes(error)
    return (str(last).splitlines() or [""])[0] or type(last).__name__


class GradusError(Exception):
    """Base of all errors that are reported to the user as one line, without a traceback.

    `evidence` is the folder of what the step that failed has left to look at, if anything.
    """

    exit_code = 1
    one_line: ClassVar[bool] = False
    """Whether line ends in what a message quotes are blanks."""

    def __init__(self, message: str, evidence: Path | None = None) -> None:
        message = redact(message)
        super().__init__(harmless(" ".join(message.splitlines()) if self.one_line else message))
        self.evidence = evidence

    def __reduce__(self) -> tuple[object, ...]:
        # Prefect stores and restores exceptions; keep attributes set after construction.
        return (type(self), self.args, self.__dict__)


class ConfigError(GradusError):
    """A preset, an override or a combination of options that cannot be run."""

    exit_code = 2


class DataRejected(GradusError):
    """The data did not meet an expectation of severity `error`; the evidence is the report and the failing rows."""

    exit_code = 3


class DownloadError(GradusError):
    """A source could not be fetched."""

    one_line = True


class TransientError(DownloadError):
    """A fetch failed in a way that the next attempt may not: the connection, or the server (5xx)."""


class UnpackError(DownloadError):
    """An archive is broken, lacks the member, or is not safe to unpack."""


class HashMismatch(DownloadError):
    """What was fetched is not the file whose SHA-256 the preset declares."""


class TableError(GradusError):
    """A file could not be read as a table in the declared format."""

    one_line = True


class WeightsError(GradusError):
    """Weights or a vocabulary could not be found, or do not fit the model."""

    one_line = True


class WeightsUnreachable(WeightsError, TransientError):
    """The hub did not answer, or the connection broke."""


class TrainingError(GradusError):
    """Training cannot go on: a loss that is not a number, or nothing to train on."""


class JudgeError(GradusError):
    """A judge cannot be asked, refused, or said too often what cannot be read. Verdicts that were made are kept."""

    one_line = True


class JudgeUnreachable(JudgeError):
    """A judge's server is down, stalls or went away; once it is back, the next run asks what is left.

    `todo` is what to do about a server that answered; it is empty where the server may not run at all.
    """

    todo: str = ""


class NotComparable(GradusError):
    """Two runs have no test rows in common that neither has learned from, or tell different labels apart."""


class PromotionRefused(GradusError):
    """A model is worse than the champion, cannot be compared with it, or is not fit to be used.

    `result` is what the rules said, if they were asked.
    """

    result: Any = None


class NoRoom(GradusError):
    """A disk is full, or has no room for what is about to be written."""


class OutOfMemory(GradusError):
    """A step needs more memory than there is; the message says which key to lower."""


class ExportFailed(GradusError):
    """What was exported and loaded again does not compute what the original does; nothing of it is left."""


class TrackingError(GradusError):
    """An MLflow store, run or model could not be reached, found or written."""
