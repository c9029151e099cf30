"""System metrics of an open run: processor, memory, disk, network, and GPU where there is one."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from components.tracking.run import Run

INTERVAL = 2.5
"""Seconds between samples; `MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL` overrides it."""
SAMPLES = 2
"""Samples that are averaged to one logged value: processor use is measured since the sample before, so the first of a
run says nothing by itself. `MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING` overrides it."""
UNUSED = "http://127.0.0.1:9"
"""An address for the client that MLflow's monitor makes and never asks; a database would be opened for it."""


@contextmanager
def system_metrics(run: Run) -> Iterator[None]:
    """Log system metrics of this machine under `system/` while the block runs, one sample at least.

    MLflow's own monitor takes the samples, in a thread that has ended when the block is left; the run records them.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    base: Any = SystemMetricsMonitor
    first = run.outbox.state.get("system_steps", 0)

    class Monitor(base):  # type: ignore[misc]
        """MLflow's monitor, but for where samples go, and that it asks no server whether the run goes on."""

        def monitor(self) -> None:
            while not self._shutdown_event.is_set():
                for _ in range(self.samples_before_logging):
                    self.collect_metrics()
                    if self._shutdown_event.wait(self.sampling_interval):
                        break
                else:
                    self.publish_metrics(self.aggregate_metrics())
            # MLflow drops the samples of an interval that did not end, so a short run would have none.
            if self._logging_step == first:
                self.publish_metrics(self.aggregate_metrics())

    monitor: Any = Monitor(run.run_id, INTERVAL, SAMPLES, tracking_uri=UNUSED)
    monitor.mlflow_logger = SimpleNamespace(data=[], record_metrics=run.metrics, flush=lambda: None)
    monitor._logging_step = first
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
