"""Where `gradus` starts, before anything large is imported."""

from components.model.memory import without_thread_cache


def main() -> None:
    """Run the command line in a process whose memory suits training."""
    without_thread_cache()
    from pipelines.cli.main import main as run

    run()
