"""Counters of the running process, served at /metrics."""

from prometheus_client import Counter, Gauge

OPERATIONS = Counter(
    "orchestrator_operations_total",
    "Operations by name and outcome: done, replayed, the code of a refusal, or error.",
    ["operation", "outcome"],
)
WAITING_REQUESTS = Gauge(
    "orchestrator_waiting_requests",
    "Requests held by Prefer: wait.",
    multiprocess_mode="livesum",
)
