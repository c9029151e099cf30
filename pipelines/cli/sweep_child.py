"""A run of a sweep, as a process: `gradus` with its arguments, which ends with the process that started it."""

from components.core.home import keep_files_private
from pipelines.child_process import end_with_parent
from pipelines.cli.start import reexec_tuned

if __name__ == "__main__":
    reexec_tuned()
    keep_files_private()
    end_with_parent()
    from pipelines.cli.main import main

    main()
