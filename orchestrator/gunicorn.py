"""How the application is served: ``gunicorn -c orchestrator/gunicorn.py orchestrator.wsgi``."""

import os
import signal
import tempfile
from typing import Any

from gunicorn.http import wsgi  # type: ignore[import-untyped]

bind = os.environ.get("BIND", f"127.0.0.1:{os.environ.get('PORT', '8000')}")
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
# A thread for each request in hand; those that wait for a decision (MAX_WAITERS) leave room.
worker_class = "gthread"
threads = 24
timeout = 90
graceful_timeout = 10
keepalive = 30
# A token of the issuer may have 16 KiB.
limit_request_field_size = 17_000
# Requests share DB_POOL_MAX connections; management commands take one of their own.
raw_env = ["DB_POOL=on"]
accesslog = None
loglevel = "warning"


if workers > 1 and "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    # Whichever process is asked for metrics answers for all.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="orchestrator-metrics-")


class Response(wsgi.Response):  # type: ignore[misc]  # untyped library
    """Answers that do not say which server, of which version, gives them."""

    def default_headers(self) -> list[str]:
        return [h for h in super().default_headers() if not h.startswith("Server:")]


wsgi.Response = Response


def child_exit(server: Any, worker: Any) -> None:
    """What a process that ended held is held no more; what it counted stays counted."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def post_worker_init(worker: Any) -> None:
    """Let whoever waits for a decision answer when the worker is asked to end, so that it can."""
    from audit_app.bell import bell

    def end(number: int, frame: Any) -> None:
        bell.closing = True
        worker.handle_exit(number, frame)

    signal.signal(signal.SIGTERM, end)
