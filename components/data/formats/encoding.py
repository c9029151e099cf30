"""Whether a file's bytes are text in the encoding that is declared, and its quotes are right."""

import codecs
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from components.core.errors import TableError
from components.data.formats.dialect import DELIMITED, is_utf8
from components.data.formats.quotes import Quotes
from components.data.sources import FileSource
from components.data.unpack import is_archive

CHUNK = 1 << 20
SAMPLE = 1 << 15
"""Bytes from which an encoding is guessed."""
NARROW = 0.2
"""Share of zero bytes above which text is none in UTF-8: in UTF-16 half of those of a western text are."""

COMMON = [
    "utf_8", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "cp949", "cp932", "euc_jp", "gb18030", "big5",
    "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874", "koi8_r",
    "cp437", "cp850",
]  # fmt: skip
"""Encodings that files are in; of the rest some bytes or other always look like text."""
WESTERN, ITS_KIN = "cp1252", ("cp1250", "cp1254", "cp1257", "cp1258")
"""Short texts in the first read as well in the others, which are rarer."""


def check_text(path: Path, source: FileSource) -> list[str]:
    """Read a file once, and return notes on it, a sentence each.

    Raises:
        TableError: with the place of the first byte that is not text in the declared encoding, or with the line of the
            first quote that is not closed, or closed too soon.
    """
    quotes = source.format in DELIMITED and source.quoting == "default"
    check = Quotes(path, source.separator) if quotes else None
    for text in _decoded(path, source):
        if check:
            check.feed(text)
    notes = check.finish() if check else []
    if not is_utf8(source.encoding) and _is_utf8_too(path):
        notes.append(f"{path.name} is valid UTF-8, but is read as {source.encoding}; set source.encoding=utf-8")
    return notes


def _is_utf8_too(path: Path) -> bool:
    """Say whether what is read in some other encoding is UTF-8, and not only ASCII."""
    found = False
    with suppress(UnicodeDecodeError), path.open(encoding="utf-8", newline="") as file:
        while (text := file.read(CHUNK)) and "\0" not in text:
            found = found or not text.isascii()
        return found and not text
    return False


def _decoded(path: Path, source: FileSource) -> Iterator[str]:
    """Yield a file's text piece by piece, without a byte order mark, and nothing at the end."""
    decoder = codecs.getincrementaldecoder(source.encoding)()
    done = lines = 0
    started = False
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # error.object is the chunk, after what the decoder kept of a character cut in two.
                at = done + len(chunk) - len(error.object) + error.start
                before = error.object[: error.start].decode(error.encoding, "ignore")
                raise _not_text(path, source, f"byte {at} (line {lines + before.count(chr(10)) + 1})", error) from error
            except UnicodeError as error:
                raise TableError(f"{path.name} is not {source.encoding}: {error}; set source.encoding") from error
            if not done and chunk.count(b"\0") > NARROW * len(chunk) and is_utf8(source.encoding):
                raise _not_text(path, source, "every other byte is zero", None)
            yield text if started else text.removeprefix("\ufeff")
            if not chunk:
                return
            started = started or bool(text)
            done += len(chunk)
            lines += text.count("\n")


def _not_text(path: Path, source: FileSource, where: str, error: UnicodeDecodeError | None) -> TableError:
    if is_archive(path):
        return TableError(f"{path.name} is an archive; set source.member to the file inside it")
    likely = likely_encoding(path if error is None or b"\0" in error.object[:SAMPLE] else _around(error))
    advice = f"it looks like {likely}: set source.encoding={likely}" if likely else "convert it, or set source.encoding"
    return TableError(f"{path.name} is not {source.encoding}: {where}; {advice}")


def _around(error: UnicodeDecodeError) -> bytes:
    """Return bytes around one that is wrong: whole lines, the first of them its own, as far as there are lines."""
    start = error.object.rfind(b"\n", 0, error.start) + 1
    return bytes(error.object[start : start + SAMPLE])


def likely_encoding(sample: bytes | Path) -> str | None:
    """Return the encoding that bytes, or those at the beginning of a file, are most likely text in, if there is one."""
    from charset_normalizer import from_bytes

    if isinstance(sample, Path):
        with sample.open("rb") as file:
            sample = file.read(SAMPLE)
    if b"\0" not in sample and b"\n" in sample:  # whole lines, or a character cut in two would rule the right one out
        sample = sample[: sample.rindex(b"\n")]
    found = from_bytes(sample, cp_isolation=COMMON)
    best = found.best()
    if best is None:
        return None
    western = next((match for match in found if match.encoding == WESTERN), best)
    if best.encoding in ITS_KIN and western.coherence >= best.coherence:
        best = western
    return best.encoding.replace("_", "-")
