"""How the application is served: ``gunicorn -c orchestrator/gunicorn.py orchestrator.wsgi``."""

import os
import signal
from typing import Any

bind = os.environ.get("BIND", f"127.0.0.1:{os.environ.get('PORT', '8000')}")
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
# A thread for each request in hand; those that wait for a decision (MAX_WAITERS) leave room.
worker_class = "gthread"
threads = 24
timeout = 90
graceful_timeout = 10
keepalive = 30
# Requests share DB_POOL_MAX connections; management commands take one of their own.
raw_env = ["DB_POOL=on"]
accesslog = None
loglevel = "warning"


def post_worker_init(worker: Any) -> None:
    """Let whoever waits for a decision answer when the worker is asked to end, so that it can."""
    from audit_app.tail import bell

    def end(number: int, frame: Any) -> None:
        bell.closing = True
        worker.handle_exit(number, frame)

    signal.signal(signal.SIGTERM, end)
