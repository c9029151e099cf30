"""System metrics of an open run: processor, memory, disk, network, and GPU where there is one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from components.tracking.stores import one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

INTERVAL = 2.5
"""Seconds between samples; `MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL` overrides it."""
SAMPLES = 2
"""Samples that are averaged to one logged value: processor use is measured since the sample before, so the first of a
run says nothing by itself. `MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING` overrides it."""
PREFIX = "system/"

log = logging.getLogger(__name__)


@contextmanager
def system_metrics(client: "MlflowClient", run_id: str) -> Iterator[None]:
    """Log system metrics of this machine under `system/` while the block runs, one sample at least.

    MLflow's own monitor does it, in a thread that has ended when the block is left. Losing the metrics is a
    warning, not an error: no run fails for want of a processor curve.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor_class: Any = SystemMetricsMonitor
    monitor = monitor_class(run_id, INTERVAL, SAMPLES, tracking_uri=client.tracking_uri, resume_logging=True)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
        try:
            _sample_if_none(client, run_id, monitor)
        except MlflowException as error:
            log.warning("system metrics of run %s were lost: %s", run_id, one_line(error))


def _sample_if_none(client: "MlflowClient", run_id: str, monitor: Any) -> None:
    # MLflow drops the sample of an interval that did not end, so a short run would have none.
    if any(key.startswith(PREFIX) for key in client.get_run(run_id).data.metrics):
        return
    monitor.collect_metrics()
    monitor.publish_metrics(monitor.aggregate_metrics())
    monitor.mlflow_logger.flush()
