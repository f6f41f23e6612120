"""/metrics for Prometheus: counters of all processes, and gauges read from the database.

With several processes, prometheus_client shares counters through files in PROMETHEUS_MULTIPROC_DIR,
which server/gunicorn.py sets, so any process can answer for all.
"""

import hmac
import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.http import Http404, HttpRequest, HttpResponse
from procrastinate.contrib.django import app
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from orchestrator import __version__
from orchestrator.web.circuit_breaker import availability
from sessions_app.models import Freeze

READ_EVERY = 5.0
"""Seconds for which a process repeats what it read: a scrape counts all that waits."""

AGES = ("5m", "1h", "1d", "older")
WAITING = """
    SELECT approver_role,
        count(*) FILTER (WHERE age < interval '5 minutes'),
        count(*) FILTER (WHERE age >= interval '5 minutes' AND age < interval '1 hour'),
        count(*) FILTER (WHERE age >= interval '1 hour' AND age < interval '1 day'),
        count(*) FILTER (WHERE age >= interval '1 day'),
        extract(epoch FROM max(age))::float,
        count(*) FILTER (WHERE expires_at < clock_timestamp())
    FROM approvals, LATERAL (SELECT clock_timestamp() - created_at) AS since (age)
    WHERE status = 'pending' GROUP BY 1 ORDER BY 1
"""
RUNS = """
    SELECT command, extract(epoch FROM succeeded_at)::float, runs, failures, seconds, done
    FROM command_runs ORDER BY 1
"""

WEBHOOKS = """
    SELECT w.name, w.status,
        count(d.id) FILTER (WHERE d.status = 'waiting'),
        count(d.id) FILTER (WHERE d.status = 'held'),
        count(d.id) FILTER (WHERE d.status = 'failed'),
        extract(epoch FROM clock_timestamp() - min(d.created_at)
            FILTER (WHERE d.status = 'waiting'))::float,
        (SELECT extract(epoch FROM max(delivered_at))::float FROM webhook_deliveries
            WHERE webhook_id = w.id)
    FROM webhooks w LEFT JOIN webhook_deliveries d
        ON d.webhook_id = w.id AND d.status <> 'delivered'
    GROUP BY w.id ORDER BY 1
"""
CONSUMERS = """
    SELECT name, coalesce((
        SELECT extract(epoch FROM clock_timestamp() - timestamp)::float FROM audit_events
        WHERE (xid, position)
            > (split_part(cursor, '.', 2)::xid8, split_part(cursor, '.', 3)::bigint)
        ORDER BY xid, position LIMIT 1), 0)
    FROM tail_readers ORDER BY 1
"""


FREEZES = """
    SELECT scope, count(*) FROM freezes WHERE status = 'active' GROUP BY scope
"""

# A job that was never tried again has no time of its own, so its event tells since when it waits.
JOBS = """
    SELECT queue_name, number, extract(epoch FROM clock_timestamp() - least(scheduled_at, (
        SELECT min(at) FROM procrastinate_events WHERE job_id = first)))::float
    FROM (
        SELECT queue_name, count(*) AS number, min(scheduled_at) AS scheduled_at,
            min(id) FILTER (WHERE scheduled_at IS NULL) AS first
        FROM procrastinate_jobs
        WHERE status = 'todo' AND coalesce(scheduled_at <= clock_timestamp(), true)
        GROUP BY queue_name
    ) AS waiting ORDER BY 1
"""


class DatabaseCollector(Collector):
    """Metrics read from the database, by each process at most once in READ_EVERY. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Read again at the next scrape."""
        self._read_at, self._known = float("-inf"), list[Metric]()

    def _read(self) -> list[Metric]:
        # Scrapes that come together wait for one reading: each would count the same rows.
        with self._lock:
            if time.monotonic() - self._read_at >= READ_EVERY:
                self._known = [
                    *_collect_waiting(),
                    *_collect_runs(),
                    *_collect_webhooks(),
                    *_collect_consumers(),
                    *_collect_jobs(),
                    *_collect_freezes(),
                ]
                self._read_at = time.monotonic()
            return self._known

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("orchestrator_database_up", "Whether the database answers.")
        metrics: list[Metric] = []
        try:
            if not availability.away:
                metrics = self._read()
        # A scrape during an outage still gets the counters, and orchestrator_database_up 0.
        except (DatabaseError, InterfaceError) as error:
            availability.suspect(error)
        up.add_metric([], 1 if metrics else 0)
        version = GaugeMetricFamily("orchestrator_info", "What runs.", labels=["version"])
        version.add_metric([__version__], 1)
        yield from (up, version, *metrics)

    def describe(self) -> list[Metric]:
        """Empty, so that registering does not query the database."""
        return []


def _collect_waiting() -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "orchestrator_approvals_waiting", "Pending approvals.", labels=["role", "age"]
    )
    oldest = GaugeMetricFamily(
        "orchestrator_approvals_oldest_seconds", "Age of the oldest one.", labels=["role"]
    )
    overdue = GaugeMetricFamily(
        "orchestrator_approvals_overdue", "Pending past their deadline.", labels=["role"]
    )
    for role, *counts, age, late in _rows(WAITING):
        for name, count in zip(AGES, counts, strict=True):
            waiting.add_metric([role, name], count)
        oldest.add_metric([role], age)
        overdue.add_metric([role], late)
    yield from (waiting, oldest, overdue)


def _collect_runs() -> Iterator[Metric]:
    success = GaugeMetricFamily(
        "orchestrator_command_success_timestamp_seconds", "Last good end.", labels=["command"]
    )
    runs = CounterMetricFamily("orchestrator_command_runs", "Runs.", labels=["command"])
    failures = CounterMetricFamily("orchestrator_command_failures", "Not well.", labels=["command"])
    took = GaugeMetricFamily(
        "orchestrator_command_seconds", "How long the last run took.", labels=["command"]
    )
    done = CounterMetricFamily(
        "orchestrator_command_rows", "What the runs did.", labels=["command", "kind"]
    )
    for command, succeeded_at, ran, failed, seconds, rows in _rows(RUNS):
        success.add_metric([command], succeeded_at or 0)
        runs.add_metric([command], ran)
        failures.add_metric([command], failed)
        took.add_metric([command], seconds)
        for kind, count in json.loads(rows).items():
            done.add_metric([command, kind], count)
    yield from (success, runs, failures, took, done)


def _collect_webhooks() -> Iterator[Metric]:
    deliveries = GaugeMetricFamily(
        "orchestrator_webhook_deliveries",
        "Deliveries that did not arrive, by state.",
        labels=["webhook", "state"],
    )
    oldest = GaugeMetricFamily(
        "orchestrator_webhook_oldest_waiting_seconds", "Age of the oldest.", labels=["webhook"]
    )
    success = GaugeMetricFamily(
        "orchestrator_webhook_success_timestamp_seconds", "Last arrival.", labels=["webhook"]
    )
    active = GaugeMetricFamily(
        "orchestrator_webhook_active", "1 unless it is paused or disabled.", labels=["webhook"]
    )
    for name, status, waiting, held, failed, age, last in _rows(WEBHOOKS):
        for state, count in (("waiting", waiting), ("held", held), ("failed", failed)):
            deliveries.add_metric([name, state], count)
        oldest.add_metric([name], age or 0)
        success.add_metric([name], last or 0)
        active.add_metric([name], status == "active")
    yield from (deliveries, oldest, success, active)


def _collect_consumers() -> Iterator[Metric]:
    behind = GaugeMetricFamily(
        "orchestrator_relay_behind_seconds",
        "Age of the oldest event that the worker has not read.",
        labels=["relay"],
    )
    for name, seconds in _rows(CONSUMERS):
        behind.add_metric([name], seconds)
    yield behind


def _collect_jobs() -> Iterator[Metric]:
    waiting = GaugeMetricFamily("orchestrator_jobs_waiting", "Jobs that are due.", labels=["queue"])
    oldest = GaugeMetricFamily(
        "orchestrator_jobs_oldest_waiting_seconds",
        "How long the oldest job has been due.",
        labels=["queue"],
    )
    known = {task.queue: (0, 0.0) for task in app.tasks.values()}
    known |= {queue: (number, age) for queue, number, age in _rows(JOBS)}
    for queue, (number, age) in sorted(known.items()):
        waiting.add_metric([queue], number)
        oldest.add_metric([queue], age or 0)
    yield from (waiting, oldest)


def _collect_freezes() -> Iterator[Metric]:
    frozen = GaugeMetricFamily(
        "orchestrator_freezes_active", "Freezes that are not lifted.", labels=["scope"]
    )
    active = dict(_rows(FREEZES))
    for scope in Freeze.Scope.values:
        frozen.add_metric([scope], active.get(scope, 0))
    yield frozen


def _rows(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def metrics(request: HttpRequest) -> HttpResponse:
    """Needs METRICS_TOKEN as a bearer token. Without that setting, 404 except in a trial."""
    if not settings.METRICS_TOKEN and not settings.TRIAL:
        raise Http404
    expected = f"Bearer {settings.METRICS_TOKEN}"
    # Compared in constant time, so that the answer's time does not reveal the token.
    if settings.METRICS_TOKEN and not hmac.compare_digest(
        request.headers.get("Authorization", "").encode(), expected.encode()
    ):
        return HttpResponse(
            "METRICS_TOKEN is asked for.\n",
            status=401,
            content_type="text/plain",
            headers={"WWW-Authenticate": "Bearer"},
        )
    body = generate_latest(_process_registry()) + generate_latest(_database_registry)
    return HttpResponse(body, content_type=CONTENT_TYPE_LATEST)


def _process_registry() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


database_metrics = DatabaseCollector()
_database_registry = CollectorRegistry()
_database_registry.register(database_metrics)
