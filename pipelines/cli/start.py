"""Where `gradus` starts, before anything large is imported."""

import sys
from importlib.util import find_spec
from pathlib import Path

USAGE_ERROR = 2


def main() -> None:
    """Run the command line in a process whose memory suits training."""
    if sys.platform == "win32":
        sys.stderr.write("gradus: Windows is not supported: install and start it in WSL, Windows's Linux\n")
        sys.exit(USAGE_ERROR)
    # Where a package `components` that is not Gradus's stands in front of it; nothing is imported for that.
    ours, found = Path(__file__).resolve().parents[2] / "components" / "__init__.py", find_spec("components")
    other = found.origin if found else None
    if other and Path(other).resolve() != ours:
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
