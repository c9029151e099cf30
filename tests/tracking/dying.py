"""A run whose process is killed."""

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pandas as pd

from components.tracking.config import TrackingConfig
from components.tracking.runs import open_run


def open_and_die(home: Path, params: dict[str, Any], told: Connection) -> None:
    """Open a run in `home`, log to it, tell its id, and kill this process."""
    with open_run(TrackingConfig(system_metrics=False), home, "a run", params) as run:
        for step in range(1, 4):
            run.metrics({"curve/loss": 1 / step}, step)
        run.metrics({"test/accuracy": 0.5}, 3)
        run.flush()
        run.log_table(pd.DataFrame({"text": ["a", None], "p": [0.5, 1.0]}), "table.json")
        told.send(run.run_id)
        os.kill(os.getpid(), signal.SIGKILL)
