"""A new local MLflow database, made by a process of its own while this one imports what a run needs.

MLflow makes one by all the migrations that there ever were: more than a second's work for one core.
"""

import atexit
import subprocess

from components.core.home import home
from components.tracking.stores import DATABASE, local_uri, tracking_uri
from pipelines.cli.children import start_child

MAKE = """
from pipelines.cli.children import end_with_parent
end_with_parent()
import gc
gc.disable()  # it ends soon
from components.core.home import home
from components.tracking.stores import open_client
open_client(home())
"""


def make_database_ahead() -> "subprocess.Popen[bytes] | None":
    """Start to make the local database, unless it is there or the environment names another store: then return None.

    The run opens it as well, and waits for the same lock. What is wrong with the store is said there.
    """
    if tracking_uri(home()) != local_uri(home()) or (home() / DATABASE).exists():
        return None
    process = start_child("-c", MAKE)
    atexit.register(process.wait)
    return process
