"""Where Gradus keeps things; read from the environment when asked, never on import."""

import os
from pathlib import Path


def home() -> Path:
    """Return `GRADUS_HOME`, or `.gradus` in the working directory. The folder need not exist."""
    return Path(os.environ.get("GRADUS_HOME") or ".gradus").expanduser().absolute()


def keep_files_private() -> None:
    """Let this process, and those that it starts, write files and folders that only its user can read.

    What runs leave holds the data that they were given. What is there already keeps its mode: a team may share a home.
    """
    os.umask(0o077)


def mirror() -> Path | None:
    """Return the folder `GRADUS_MIRROR` in which file names are looked up before the network, if set."""
    return Path(value).expanduser().absolute() if (value := os.environ.get("GRADUS_MIRROR")) else None
