"""Splits that a source brings with it: files of their own, or a column that names them."""

from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from components.config import Config
from components.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SPLITS = ("train", "validation", "test")
SPLIT = "split"
"""The column of a table that says which split a row is of."""

NAMES = {
    **{name: 0 for name in ("train", "training")},
    **{name: 1 for name in ("validation", "valid", "val", "dev")},
    **{name: 2 for name in ("test", "testing")},
}
"""What splits are called in files, in any case, and their positions in `SPLITS`."""


class SplitFile(Config):
    """A file with the rows of one split, in the format and with the columns of the source's own; or its URL alone."""

    url: str | None = None
    """Where it is, as in `source.url`; by default the same file, of which `member` is another part."""

    sha256: str | None = None
    """SHA-256 of the unpacked member, or of the file itself."""

    member: str | None = None
    """The file to unpack when it is an archive."""

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, values: Any) -> Any:
        return {"url": values} if isinstance(values, str) else values


def split_numbers(names: "pa.Array") -> "np.ndarray":
    """Return the position in `SPLITS` of each name, int8.

    Raises:
        ConfigError: if one is no split's name, or missing.
    """
    import numpy as np
    import pyarrow as pa

    encoded = names.cast(pa.string()).dictionary_encode(null_encoding="encode")
    numbers = []
    for name in encoded.dictionary.to_pylist():
        number = NAMES.get((name or "").strip().casefold())
        if number is None:
            what = "is missing in a row" if name is None else f"is {name!r} in a row"
            raise ConfigError(f"source.columns.split: the split {what}; name each one of {', '.join(NAMES)}")
        numbers.append(number)
    found: np.ndarray = np.array(numbers, np.int8)[encoded.indices.to_numpy()]
    return found
