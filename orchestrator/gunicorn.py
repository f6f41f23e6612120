"""How the application is served: ``gunicorn -c orchestrator/gunicorn.py orchestrator.wsgi``."""

import os

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
