"""A run of a sweep, as a process: `gradus` with its arguments, which ends with the process that started it."""

from components.core.home import keep_files_private
from components.models.memory import reexec_without_tcache
from pipelines.cli.prefect_server.child import end_with_parent

if __name__ == "__main__":
    reexec_without_tcache()
    keep_files_private()
    end_with_parent()
    from pipelines.cli.main import main

    main()
