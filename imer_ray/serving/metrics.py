"""What the front counts, in Prometheus's text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

KIND = CONTENT_TYPE_LATEST.encode()
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one front."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "imer_ray_requests", "Requests answered, by path and status.", ("path", "status"), registry=registry
        )
        self.seconds = Histogram(
            "imer_ray_predict_seconds",
            "From a request's head to its answer, of predictions.",
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "imer_ray_batch_requests", "Requests that went to a replica together.", buckets=SIZES, registry=registry
        )
        self.in_flight = Gauge("imer_ray_in_flight", "Requests that are not yet answered.", registry=registry)
        self.retries = Counter(
            "imer_ray_retries", "Requests asked again because their replica died.", registry=registry
        )

    def text(self) -> bytes:
        return generate_latest(self._registry)
