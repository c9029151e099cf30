"""Logs as JSON, a line an event, where GRADUS_LOG_FORMAT=json asks for it: for what collects the logs of a service.

Each line names the run on Prefect's server and the one in MLflow that it is of.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.runtime import flow_run
from pythonjsonlogger.json import JsonFormatter

from components.core.errors import ConfigError

VARIABLE = "GRADUS_LOG_FORMAT"
TEXT, JSON = FORMATS = ("text", "json")
NAMES = {"asctime": "time", "levelname": "level", "name": "logger"}
"""What the fields of Python's records are called."""


class _Named(logging.Filter):
    """Says of each record which runs it is of."""

    def __init__(self, mlflow_run: str) -> None:
        super().__init__()
        self.mlflow_run = mlflow_run

    def filter(self, record: logging.LogRecord) -> bool:
        record.mlflow_run_id = self.mlflow_run
        if not hasattr(record, "flow_run_id"):  # Prefect's own loggers say it
            record.flow_run_id = flow_run.get_id()
        return True


@contextmanager
def logs_of_run(mlflow_run: str) -> Iterator[None]:
    """Write the logs of a run as GRADUS_LOG_FORMAT says; handlers that do not write to the terminal stay as they are.

    Raises:
        ConfigError: if that is no format.
    """
    wanted = os.environ.get(VARIABLE, TEXT)
    if wanted not in FORMATS:
        raise ConfigError(f"{VARIABLE} is {wanted!r}, and has to be one of {', '.join(FORMATS)}")
    swapped = [(logger, before, _json(before, mlflow_run)) for logger, before in _to_terminal() if wanted == JSON]
    for logger, before, after in swapped:
        logger.removeHandler(before)
        logger.addHandler(after)
    try:
        yield
    finally:
        for logger, before, after in swapped:
            logger.removeHandler(after)
            logger.addHandler(before)


def _json(before: logging.Handler, mlflow_run: str) -> logging.Handler:
    """Return a handler that takes another one's place."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(before.level)
    fields = [f"%({name})s" for name in (*NAMES, "message")]
    handler.setFormatter(JsonFormatter(" ".join(fields), rename_fields=NAMES))
    handler.addFilter(_Named(mlflow_run))
    return handler


def _to_terminal() -> Iterator[tuple[logging.Logger, logging.Handler]]:
    """Yield the handlers that write to a stream, Prefect's to standard error among them, with their loggers."""
    for logger in (logging.getLogger(), *logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield from (
                (logger, each)
                for each in logger.handlers
                if isinstance(each, logging.StreamHandler) and not isinstance(each, logging.FileHandler)
            )
