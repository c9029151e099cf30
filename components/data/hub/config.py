"""What of a data set of the hub is used: the section `source.hub`."""

import re
from typing import NamedTuple

from pydantic import Field

from components.core.config import Config

ADDRESS = re.compile(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+)(?:/([^?#@]+))?/?")


class Place(NamedTuple):
    """What an address names."""

    name: str
    """The data set, as the hub calls it: `owner/name`."""
    path: str
    """One file of it, or nothing: then its splits are looked for."""


class HubConfig(Config):
    """Which part of a data set of the hub is used."""

    subset: str | None = Field(None, min_length=1)
    """Its subset (the hub also says configuration); by default the only one, or the one that it declares as default."""

    split: str | None = Field(None, min_length=1)
    """The one split that is used, and dealt as the section `split` says. By default `train`, with the data set's
    `validation` and `test` as given splits where it has them."""

    revision: str = Field("main", pattern=r"^[\w./-]+$")
    """A branch, a tag or a commit (40 hexadecimal digits). A branch is asked for its commit at each run; a commit
    always means the same files."""


def is_hub(url: str) -> bool:
    """Tell whether a URL names a data set of the hub."""
    return url.lower().startswith("hf://")


def place_of(url: str) -> Place | None:
    """Return the data set, and the file in it, that a URL `hf://owner/name/FILE` names; None if it is not one."""
    found = ADDRESS.fullmatch(url)
    if found is None or ".." in (found[2] or "").split("/"):
        return None
    return Place(found[1], (found[2] or "").rstrip("/"))
