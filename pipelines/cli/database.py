"""A new local MLflow database, made by a process of its own while this one imports what a run needs.

MLflow makes one by all the migrations that there ever were: more than a second's work for one core.
"""

import atexit
import subprocess
import sys

from components.home import home
from components.tracking.stores import DATABASE, local_uri, tracking_uri

MAKE = """
import gc
gc.disable()  # it ends soon
from components.home import home
from components.tracking.stores import open_client
open_client(home())
"""


def make_database_ahead() -> "subprocess.Popen[bytes] | None":
    """Start to make the local database, unless it is there or the environment names another store: then return None.

    The run opens it as well, and waits for the same lock. What is wrong with the store is said there.
    """
    if tracking_uri(home()) != local_uri(home()) or (home() / DATABASE).exists():
        return None
    none = subprocess.DEVNULL
    # In a session of its own: Ctrl-C is for the run, and half a database would be in the way of the next.
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE], stdin=none, stdout=none, stderr=none, start_new_session=True
    )
    atexit.register(process.wait)
    return process
