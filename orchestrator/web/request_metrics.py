"""Counts each request, and what the connection pool looks like after it."""

from django.db import connection
from prometheus_client import Gauge, Histogram

REQUESTS = Histogram(
    "orchestrator_request_seconds",
    "Requests by method, route and status. What was held by Prefer: wait takes long by design.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
)

POOL = Gauge(
    "orchestrator_pool_connections",
    "Database connections of the pools, by state: open, idle, or requests waiting for one.",
    ["state"],
    multiprocess_mode="livesum",
)
STATES = {"open": "pool_size", "idle": "pool_available", "waiting": "requests_waiting"}
POOL_BY_STATE = {state: POOL.labels(state) for state in STATES}


def count_request(method: str, route: str | None, status: int, seconds: float) -> None:
    """Called once a request; ``route`` is the pattern, so that labels stay few."""
    known = method if method in ("GET", "HEAD", "OPTIONS", "POST", "PUT") else "other"
    REQUESTS.labels(known, route or "none", str(status)).observe(seconds)
    if pool := getattr(connection, "pool", None):
        stats = pool.get_stats()
        for state, name in STATES.items():
            POOL_BY_STATE[state].set(stats.get(name, 0))
