"""Figures for Prometheus: how many requests, how long they took, how full the batch is."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "gradus_requests", "Requests that were answered", ("path", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "gradus_request_seconds", "Seconds from a request to the end of its answer", ("path",), buckets=SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.tokens = Counter("gradus_tokens", "Tokens that were read and written", ("kind",), registry=self.registry)
        self.batch = Histogram(
            "gradus_batch_size", "Rows that were computed at once", buckets=ROWS, registry=self.registry
        )

    def watch_queue(self, waiting: Callable[[], int]) -> None:
        """Show how many requests wait, which is asked for when somebody looks."""
        Gauge("gradus_queue_length", "Texts that wait for their turn", registry=self.registry).set_function(waiting)

    def page(self) -> bytes:
        """Return all figures in the text format of Prometheus."""
        return generate_latest(self.registry)
