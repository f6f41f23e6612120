"""Gunicorn's configuration: ``gunicorn -c orchestrator/server/gunicorn.py orchestrator.asgi``."""

import gc
import os
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.urls import get_resolver

MAX_DEFAULT_WORKERS = 4
"""Each process takes DB_POOL_MAX database connections and about 130 MB."""

METRICS_DIR_PREFIX = "orchestrator-metrics-"
"""The prefix of the folder through which processes share their metrics."""


def _usable_cores() -> int:
    """The number of cores that this process may use, or all cores where the system can't tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


bind = os.environ.get("BIND", f"127.0.0.1:{os.environ.get('PORT', '8000')}")
workers = int(os.environ.get("WEB_CONCURRENCY") or min(_usable_cores(), MAX_DEFAULT_WORKERS))
worker_class = "asgi"
wsgi_app = "orchestrator.asgi:application"
worker_connections = 20_000
backlog = 4096
timeout = 90
graceful_timeout = 10
keepalive = 30
# An issuer's token may have 16 KiB.
limit_request_field_size = 17_000
# Only the server pools connections; a management command opens its own.
raw_env = ["DB_POOL=on"]
accesslog = None
loglevel = "warning"


def on_starting(server: Any) -> None:
    """Make the processes share their metrics, so that any can answer for all."""
    if server.cfg.workers > 1 and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=METRICS_DIR_PREFIX)


def child_exit(server: Any, worker: Any) -> None:
    """Keep the counts of a process that ended."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Remove the shared metrics, unless a new server took over (SIGUSR2)."""
    counts = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""))
    if counts.name.startswith(METRICS_DIR_PREFIX) and not server.reexec_pid:
        shutil.rmtree(counts, ignore_errors=True)


def post_worker_init(worker: Any) -> None:
    """Prepare a worker: answer its long polls on SIGTERM, and tune it for many connections."""
    from audit_app.live.subscriptions import subscriptions
    from orchestrator.server.protocol import use_protocol
    from sessions_app.auth.key_cache import key_cache

    def end() -> None:
        subscriptions.close()
        worker.handle_exit_signal()

    worker.loop.add_signal_handler(signal.SIGTERM, end)
    # gunicorn's ASGI worker does not pass the backlog on, and asyncio's default is 100. More agents
    # than that reconnect after a restart.
    use_protocol(worker, backlog=backlog)
    key_cache.start()
    # Each long poll holds a connection, so allow as many files as the system permits.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Threads release the GIL sooner (5 ms by default), so that Django does not hold up the loop.
    sys.setswitchinterval(0.001)
    tune_garbage_collection()


def tune_garbage_collection() -> None:
    """Exclude what is loaded at start from garbage collection, and collect the rest less often.

    A full collection stops the process: a tenth of a second for the loaded code, and as much for
    each thousand long polls, whose garbage of about 8 KB each may wait.
    """
    get_resolver().url_patterns  # noqa: B018  # loads every view
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 50)
