"""Whether a file's bytes are text in the encoding that it is said to have."""

import codecs
from pathlib import Path

from components.data.sources import FileSource
from components.data.unpack import is_archive
from components.errors import TableError

CHUNK = 1 << 20


def check_encoding(path: Path, source: FileSource) -> None:
    """Raise TableError with the place of the first byte that is not text in the declared encoding."""
    decoder = codecs.getincrementaldecoder(source.encoding)()
    before = lines = 0
    with path.open("rb") as file:
        while True:
            chunk = file.read(CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # error.object is the chunk, after what the decoder kept of a character cut in two.
                at = before + len(chunk) - len(error.object) + error.start
                line = lines + error.object[: error.start].count(b"\n") + 1
                raise TableError(_message(path, source, at, line)) from error
            if not chunk:
                return
            before += len(chunk)
            lines += chunk.count(b"\n")


def _message(path: Path, source: FileSource, at: int, line: int) -> str:
    if is_archive(path):
        return f"{path.name} is an archive; set source.member to the file inside it"
    return f"{path.name} is not {source.encoding}: byte {at} (line {line}); convert the file, or set source.encoding"
