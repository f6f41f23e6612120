"""Many who come in the same moment are let in, though nobody has time for them yet."""

import os
import signal
import socket
from contextlib import ExitStack

from tests.faults.killing import children
from tests.serving import client_of, free_port, gunicorn, on_the_tests_database

CROWD = 400
"""More than asyncio's own backlog, and fewer than Linux has let wait by default since 5.4."""


def test_a_crowd_of_connections_is_queued_and_answered(tmp_path):
    port = free_port()
    with gunicorn(tmp_path / "log", on_the_tests_database(port)) as web, ExitStack() as crowd:
        with client_of(port) as client:
            assert client.get("/status").status_code == 200
        for worker in children(web.pid):
            os.kill(worker, signal.SIGSTOP)
        try:
            for _ in range(CROWD):
                crowd.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        finally:
            for worker in children(web.pid):
                os.kill(worker, signal.SIGCONT)
