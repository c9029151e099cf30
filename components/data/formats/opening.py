"""How a file's text is opened."""

from pathlib import Path
from typing import TextIO

from components.data.sources import FileSource


def open_text(path: Path, source: FileSource, newline: str = "") -> TextIO:
    """Open a file to read its text in the declared encoding; a byte order mark is no part of it."""
    file = path.open(encoding=source.encoding, newline=newline)
    try:
        marked = file.read(1) == "\ufeff"
    except UnicodeError:
        file.close()
        raise
    if not marked:
        file.seek(0)
    return file
