"""A server in a process of its own, whose log is read when it has ended.

Nothing here outlives a test: each starts a server of its own.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.serving import client_of, free_port, gunicorn, on_the_tests_database

Serve = Callable[..., Any]


@pytest.fixture
def serving(database: None, tmp_path: Any) -> Serve:
    """``with serving(LOG_FORMAT="json") as client: …``; then ``lines()`` is what it logged."""

    @contextmanager
    def serve(**environment: str) -> Iterator[httpx.Client]:
        port = free_port()
        env = on_the_tests_database(port, **environment)
        with gunicorn(tmp_path / "log", env), client_of(port) as client:
            yield client

    return serve


@pytest.fixture
def read_log(tmp_path: Any) -> Callable[[], str]:
    return lambda: str((tmp_path / "log").read_text())


@pytest.fixture
def lines(read_log: Callable[[], str]) -> Callable[[], list[dict[str, Any]]]:
    """The log's lines, each a JSON object."""
    return lambda: [json.loads(line) for line in read_log().splitlines()]


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """Where OTLP goes: its URL, and the bodies that it was sent."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    server.server_close()
    thread.join()
