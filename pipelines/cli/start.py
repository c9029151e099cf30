"""Where `gradus` starts, before anything large is imported."""

import sys
from importlib.util import find_spec
from pathlib import Path

USAGE_ERROR = 2


def main() -> None:
    """Run the command line in a process whose memory suits training."""
    if other := other_components():
        sys.stderr.write(
            f"gradus: {other} hides Gradus's own package `components`: start gradus where that folder does not come "
            "first (see PYTHONPATH and the working directory), or give that package another name\n"
        )
        sys.exit(USAGE_ERROR)
    from components.core.home import keep_files_private
    from components.models.memory import reexec_without_tcache

    reexec_without_tcache()
    keep_files_private()
    from pipelines.cli.main import main as run

    run()


def other_components() -> str | None:
    """Return where a package `components` that is not Gradus's stands in front of it, if one does; imports nothing."""
    ours = Path(__file__).resolve().parents[2] / "components" / "__init__.py"
    found = find_spec("components")
    return found.origin if found and found.origin and Path(found.origin).resolve() != ours else None
