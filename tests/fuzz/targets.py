"""What is fuzzed: each parser of what strangers write, as a function of bytes, with valid files to begin from.

Whatever the bytes, a parser gives a result or an error of Gradus' own that is one line, soon and in little memory.
"""

import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from components.core.errors import ConfigError, GradusError, harmless
from components.core.process_memory import peak_memory

PATIENCE = 20.0  # seconds of the processor's time; none takes one
LONGEST = 20_000
"""Characters of a message; what is shown of it is cut to 1,000."""


class Slow(BaseException):
    """A parser did not come to an end."""


@dataclass(frozen=True)
class Target:
    """A parser."""

    parse: Callable[[Path, bytes], object]
    """Parses bytes, with an empty folder to put them into."""
    seeds: Callable[[], Sequence[bytes]]
    """Files that it reads."""
    allowed: tuple[type[Exception], ...] = (GradusError,)
    """What it raises."""
    memory: int = 1 << 28
    """Bytes that it may take."""

    def check(self, data: bytes) -> bool:
        """Parse bytes; return whether they were read, and raise if anything but that or a refusal comes of them."""
        before = peak_memory()
        with tempfile.TemporaryDirectory() as folder:
            try:
                with in_time():
                    self.parse(Path(folder), data)
            except self.allowed as error:
                if not one_line(error):
                    raise AssertionError(f"no line: {type(error).__name__}: {error}") from error
                return False
            finally:
                grown = peak_memory() - before
                assert grown < self.memory, f"{grown:,} bytes for {len(data):,}"
        return True


def one_line(error: Exception) -> bool:
    """Say whether an error's message is a line that a terminal shows as it is; a config's, one for each key."""
    lines = str(error).split("\n") if isinstance(error, ConfigError) else [str(error)]
    return all(line.strip() and line == harmless(line) and len(line) < LONGEST for line in lines)


@contextmanager
def in_time(seconds: float = PATIENCE) -> Iterator[None]:
    """Stop what takes too much of the processor's time."""

    def stop(_number: int, frame: FrameType | None) -> None:
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "?"
        raise Slow(f"{seconds:g} s of the processor's time, at {where}")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
