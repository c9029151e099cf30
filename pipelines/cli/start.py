"""Where `gradus` starts, before anything large is imported."""

from components.home import keep_files_private
from components.model.memory import without_thread_cache


def main() -> None:
    """Run the command line in a process whose memory suits training."""
    without_thread_cache()
    keep_files_private()
    from pipelines.cli.main import main as run

    run()
