"""Serves the application: ``gunicorn -c orchestrator/server/gunicorn.py orchestrator.asgi``."""

import functools
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
"""Processes, each with DB_POOL_MAX connections to the database and some 130 MB."""

METRICS_DIR_PREFIX = "orchestrator-metrics-"
"""How the folder begins in which they keep what they count."""


def _usable_cores() -> int:
    """How many cores this process may use, where the system tells (Linux); else all of them."""
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
# A token of the issuer may have 16 KiB.
limit_request_field_size = 17_000
# Requests share DB_POOL_MAX connections; management commands take one of their own.
raw_env = ["DB_POOL=on"]
accesslog = None
loglevel = "warning"


def on_starting(server: Any) -> None:
    """Whichever process is asked for metrics answers for all."""
    if server.cfg.workers > 1 and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=METRICS_DIR_PREFIX)


def child_exit(server: Any, worker: Any) -> None:
    """What a process that ended counted stays counted."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """The counts go with the server, unless another of its kind took over (SIGUSR2)."""
    counts = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", ""))
    if counts.name.startswith(METRICS_DIR_PREFIX) and not server.reexec_pid:
        shutil.rmtree(counts, ignore_errors=True)


def post_worker_init(worker: Any) -> None:
    """Let whoever waits be answered when the worker is asked to end, so that it can."""
    from audit_app.live.subscriptions import subscriptions
    from sessions_app.auth.key_cache import key_cache

    def end() -> None:
        subscriptions.close()
        worker.handle_exit_signal()

    worker.loop.add_signal_handler(signal.SIGTERM, end)
    # gunicorn's ASGI worker passes no backlog on, and asyncio's own is 100: a crowd of agents that
    # reconnects after a restart is larger.
    worker.loop.create_server = functools.partial(worker.loop.create_server, backlog=backlog)
    key_cache.start()
    # A connection each for those who wait, as many as the system lets us have.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Whoever waits for the interpreter's lock gets it sooner: the loop must not wait for Django.
    sys.setswitchinterval(0.001)
    tune_garbage_collection()


def tune_garbage_collection() -> None:
    """A full collection stops everything: a tenth of a second for what is always there, which is
    not looked at again, and as much for each thousand waiters. What they leave behind when they go
    may wait: some 8 KB each."""
    get_resolver().url_patterns  # noqa: B018  # every view is loaded by this
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 50)
