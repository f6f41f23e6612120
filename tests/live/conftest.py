"""The server as operators run it, and callers that it holds.

State of a whole module: the server, with its cached keys. Waiters must be gone at the end of a
test, since the next one counts them.
"""

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from django.conf import settings

from tests.serving import client_of, free_port, gunicorn, on_the_tests_database

TOKEN = "the tests' own"
HELD = re.compile(r"^orchestrator_waiting_requests ([0-9.]+)$", re.MULTILINE)


class Server:
    """A server on ``port``, asked by agents with their keys."""

    def __init__(self, port: int, process: object) -> None:
        self.port = port
        self.process = process
        self.admin = client_of(port, headers={"Authorization": f"Bearer {TOKEN}"})

    def as_agent(self, agent, **headers: str) -> httpx.Client:
        return client_of(
            self.port, timeout=90, headers={"Authorization": f"Bearer {agent.key}"} | headers
        )

    def connection(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def holds(self, number: int) -> None:
        """Return once the server holds ``number`` requests, long before any of them times out."""
        deadline = time.monotonic() + 45
        while self.count_held() != number:
            assert time.monotonic() < deadline, f"{self.count_held()} are held, not {number}"

    def count_held(self) -> float:
        return float(HELD.search(self.admin.get("/metrics").text)[1])


@contextmanager
def serving(place, **environment: str) -> Iterator[Server]:
    port = free_port()
    env = on_the_tests_database(port, DATA_DIR=str(place), METRICS_TOKEN=TOKEN, **environment)
    env["SECRET_KEY"] = settings.SECRET_KEY  # whoever signs in here is signed in there
    with gunicorn(place / "log", env) as process:
        server = Server(port, process)
        with server.admin:
            assert server.admin.get("/status").status_code == 200
            yield server


@pytest.fixture(scope="module")
def server(django_db_setup, django_db_blocker, tmp_path_factory):
    with (
        django_db_blocker.unblock(),
        serving(tmp_path_factory.mktemp("server"), MAX_WAITERS_PER_CALLER="4") as server,
    ):
        yield server


@pytest.fixture
def aside():
    """``aside(function, …)``: a Future of what it returns."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit
