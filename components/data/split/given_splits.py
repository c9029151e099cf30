"""Splits that a source brings with it: files of their own, or a column that names them."""

from typing import Any, Self

from pydantic import ValidationError, model_validator

from components.core.config import Address, Config
from components.core.errors import ConfigError

SPLITS = ("train", "validation", "test")
SPLIT = "split"
"""The column of a table that says which split a row is of."""

NAMES = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("validation", "valid", "val", "dev"), 1),
    **dict.fromkeys(("test", "testing"), 2),
}
"""What splits are called in files, in any case, and their positions in `SPLITS`."""


class SplitFile(Config):
    """A file with the rows of one split, in the format and with the columns of the source's own; or its URL alone."""

    url: Address | None = None
    """Where it is, as in `source.url`; by default the same file, of which `member` is another part."""

    sha256: str | None = None
    """SHA-256 of the unpacked member, or of the file itself."""

    member: str | None = None
    """The file to unpack when it is an archive."""

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, values: Any) -> Any:
        return {"url": values} if isinstance(values, str) else values


class GivenSplits(Config):
    """The files of a source besides its own; the base of `components.data.sources.FileSource`."""

    validation: SplitFile | None = None
    """The file with the validation split, if it is given: its URL, or `url`, `sha256` and `member`. It is taken as it
    is; rows of train that also stand in it are left out of train."""

    test: SplitFile | None = None
    """The file with the test split, if it is given, in the same way."""

    def files(self) -> dict[str, Self]:
        """Return the source of each split's file, if some are given; that of train is this one without the others."""
        given = {name: part for name in SPLITS[1:] if (part := getattr(self, name)) is not None}
        return {"train": self._file(SplitFile())} | {n: self._file(p) for n, p in given.items()} if given else {}

    def _file(self, part: SplitFile) -> Self:
        own = self.model_dump() | dict.fromkeys(SPLITS[1:])
        if part.url or part.member:
            own |= part.model_dump() | {"url": part.url or own["url"]}
        return type(self).model_validate(own)

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        for name in SPLITS[1:]:
            part = getattr(self, name)
            if part is None:
                continue
            if SPLIT in getattr(self, "columns", ()):
                raise ValueError(f"{name} is a file, and columns.split names a column: give the splits in one way")
            if not (part.url or part.member):
                raise ValueError(f"{name}: say which file it is, by url or member")
            try:
                self._file(part)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                raise ValueError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from error
        return self


def split_number(name: str | None) -> int:
    """Return the position in `SPLITS` of a split's name.

    Raises:
        ConfigError: if it is no split's name, or missing.
    """
    number = NAMES.get((name or "").strip().casefold())
    if number is None:
        what = "is missing in a row" if name is None else f"is {name!r} in a row"
        raise ConfigError(f"source.columns.split: the split {what}; name each one of {', '.join(NAMES)}")
    return number
