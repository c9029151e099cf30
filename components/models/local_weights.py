"""Where weights lie on this machine; without the libraries that read them, since every run asks."""

from pathlib import Path

TRACKED = ("runs:/", "models:/")
"""How the address of an earlier run's model begins."""


def find_local_weights(weights: str, mirror: Path | None = None) -> Path | None:
    """Return the folder that `weights` names, or that stands for it in the mirror; None if there is none.

    A hub id is looked up as `<mirror>/<owner>/<name>`, then as `<mirror>/<name>`.
    """
    if weights == "random" or weights.startswith(TRACKED):
        return None
    path = Path(weights).expanduser()
    candidates = [path, mirror / path, mirror / path.name] if mirror else [path]
    return next((folder for folder in candidates if folder.is_dir()), None)
