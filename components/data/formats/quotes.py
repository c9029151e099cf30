"""Whether the quotes of a delimited file are right: a closing one stands before a delimiter or the end of a line.

A field is quoted if a quote is its first character; inside, two quotes stand for one. Elsewhere in a field a quote is a
character like any other. That is RFC 4180, but for the last rule; Python's `csv` and Arrow agree on files that keep to
it, and guess, each in its way, where one does not: a quote that is only a character then swallows lines.
https://www.rfc-editor.org/rfc/rfc4180
"""

import re
from pathlib import Path

from components.core.errors import TableError

LONGEST_FIELD = 1 << 24
"""Characters; a quote that is never closed would take the rest of the file for one field."""
RECORDS_INSIDE = 3
"""As many lines inside a field that look like records are no chance; one is enough where texts hold no delimiters."""
RARE = "\t;|"
"""Delimiters that texts rarely hold."""
ADVICE = "set source.quoting=none to take quotes as characters"
FIELD = re.compile(r'"(?:[^"]++|"")*+"')
LINE_END = re.compile(r"\r\n|\r|\n")


class Quotes:
    """Checks the text of a file, given to it piece by piece, from its beginning and without a byte order mark.

    Only what may be half a field is kept in memory.
    """

    def __init__(self, path: Path, delimiter: str) -> None:
        self.path, self.delimiter = path, delimiter
        ends = rf"[{re.escape(delimiter)}\r\n]"
        begins = rf"(?<![^{re.escape(delimiter)}\r\n])"
        inside = rf"(?<=[^{re.escape(delimiter)}\r\n])"
        lines = rf'(?:[^"]++|{begins}"(?:[^"\r\n]++|"")*+"(?={ends})|{inside}")*+'
        self._lines = re.compile(lines)  # up to a field of several lines, or one that is not right
        self._end = re.compile(ends)
        self._text = "\n"  # what has not been read, after the character that stands before it
        self._line = 1  # of its beginning
        self._width: int | None = None
        self._swallowed: list[tuple[int, int]] = []

    def feed(self, text: str) -> None:
        """Check the next piece.

        Raises:
            TableError: if a closing quote is followed by more of its field, or a field is too long.
        """
        self._text += text
        if self._width is None:
            self._width = LINE_END.split(text, maxsplit=1)[0].count(self.delimiter) + 1
        place = 1
        end: int | None = place
        while end is not None:
            found = self._lines.match(self._text, end)
            place = found.end() if found else end
            end = self._quoted(place)
        if len(self._text) - place > LONGEST_FIELD:
            raise self._unclosed(place, f" within the limit of {LONGEST_FIELD:,} characters")
        # Forget what has been checked, but for one character.
        if place == len(self._text) > 1 and self._text[-1] == "\r":
            place -= 1  # with a line feed after it, it is one end of a line and not two
        self._line, self._text = self._line_of(place), self._text[place - 1 :]

    def finish(self) -> list[str]:
        """Check what is left at the end of the file, and return further notes on it, a sentence each.

        Raises:
            TableError: if a quote is never closed.
        """
        self.feed("\n")
        if len(self._text) > 1:
            raise self._unclosed(1, "")
        if not self._swallowed:
            return []
        (first, last), more = self._swallowed[0], len(self._swallowed) - 1
        others = f" ({more:,} more like it)" if more else ""
        return [
            f"{self.path.name}: a quoted field goes from line {first:,} to line {last:,}{others}, and the lines inside "
            f"look like records; if its quote is a character, {ADVICE}"
        ]

    def _quoted(self, place: int) -> int | None:
        """Return where the quoted field at `place` ends, or None where that cannot be known yet.

        A field whose lines, but for the first and the last, all have as many delimiters as a record is noted.
        """
        found = FIELD.match(self._text, place)
        if found is None or found.end() == len(self._text):
            return None
        end = found.end()
        if not self._end.match(self._text, end):
            opened, closed = self._line_of(place), self._line_of(end)
            where = f"line {opened:,}" if opened == closed else f"line {closed:,} (the field began in line {opened:,})"
            after = LINE_END.split(self._text[end : end + 20])[0]
            escaped = ' (CSV knows no \\")' if self._text[end - 2] == "\\" else ""
            raise TableError(
                f"{self.path.name}: {where}: after the closing quote of a field comes {after!r}, not a delimiter or "
                f"the end of the line; double the quotes inside a field{escaped}, or {ADVICE}"
            )
        inner = LINE_END.split(found[0])[1:-1]
        enough = len(inner) >= (1 if self.delimiter in RARE else RECORDS_INSIDE) and self._width not in (None, 1)
        if enough and all(line.count(self.delimiter) + 1 == self._width for line in inner[:1000]):
            first = self._line_of(place)
            self._swallowed.append((first, first + len(inner) + 1))
        return end

    def _line_of(self, place: int) -> int:
        ends = {end: self._text.count(end, 1, place) for end in ("\n", "\r", "\r\n")}
        return self._line + ends["\n"] + ends["\r"] - ends["\r\n"]

    def _unclosed(self, place: int, how: str) -> TableError:
        where = f"the quote that opens a field in line {self._line_of(place):,}"
        return TableError(f"{self.path.name}: {where} is never closed{how}; close it, or {ADVICE}")
