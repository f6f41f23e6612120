"""The whole system as operators run it, every process of which may be killed at any moment."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.ops import embedded_postgres
from tests.clusters import start_cluster
from tests.serving import ROOT, free_port

PATIENCE = 60
WORLD = """
import json, sys, django
django.setup()
from audit_app.webhooks import operations as webhooks
from tests.factories import OPS, AgentFactory, ReviewerFactory

agents, receiver = int(sys.argv[1]), sys.argv[2]
ReviewerFactory(username="alice", roles=["finance"])
keys = [AgentFactory(name=f"agent {n}", roles=["finance"]).key for n in range(agents)]
webhooks.create_webhook("all", by=OPS, url=receiver, event_types=[], roles=[])
print(json.dumps(keys))
"""
UNDOING = """
import os, time, uuid, django
django.setup()
from django.db import DatabaseError, InterfaceError, connection, transaction
from audit_app.base.actors import Actor
from audit_app.trail.recording import record_event

AN_AGENT = Actor(kind="agent", id="x", name="undoing")

class Undone(Exception): ...

while True:
    try:
        with transaction.atomic():
            record_event("agent.undone", "note", by=AN_AGENT, details={}, trace_id=uuid.uuid4())
            time.sleep(0.02)
            raise Undone
    except Undone:
        print(".", flush=True)
    except (DatabaseError, InterfaceError):
        connection.close()
        time.sleep(0.1)
"""


class Process:
    """A program that is started anew after it was killed; its children are killed with it."""

    def __init__(self, log: Path, environment: dict[str, str], *command: str) -> None:
        self._log, self._environment, self._command = log, environment, command
        self.start()

    def start(self) -> None:
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._command],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def kill_a_child(self) -> None:
        """And leave it to its parent to start another."""
        for pid in children(self._process.pid)[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=PATIENCE)


class System:
    """PostgreSQL, the web server and the worker, with ``agents`` agents whose ``keys`` are known,
    the reviewer alice, and a webhook of every event."""

    def __init__(self, place: Path, receiver: str, agents: int) -> None:
        self._place = place / "postgres"
        self.database = start_cluster(self._place)
        self.port = free_port()
        self.environment = os.environ | {
            "DATABASE_URL": self.database.url,
            "DATA_DIR": str(place / "data"),
            "PORT": str(self.port),
            "RATE_LIMIT_PER_MINUTE": "0",
            "ADDRESS_LIMIT_PER_MINUTE": "0",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        self.keys = json.loads(self.run("-c", WORLD, str(agents), receiver))
        self.log = place / "web.log"
        gunicorn = ("-m", "gunicorn", "-c", "orchestrator/server/gunicorn.py")
        self.web = self._process(self.log, *gunicorn)
        self.worker = self._process(place / "worker.log", "manage.py", "worker")
        self.undoing = place / "undoing.log"
        self._undoer = self._process(self.undoing, "-c", UNDOING)

    def manage(self, *command: str) -> str:
        return self.run("manage.py", *command)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kill_the_web_server(self, pause: float) -> None:
        assert self.web.runs
        self.web.kill()
        time.sleep(pause)
        self.web.start()

    def kill_its_process(self, pause: float) -> None:
        assert self.web.runs
        self.web.kill_a_child()

    def kill_the_worker(self, pause: float) -> None:
        assert self.worker.runs
        self.worker.kill()
        time.sleep(pause)
        self.worker.start()

    def kill_a_connection(self, pause: float) -> None:
        """PostgreSQL ends them all, then, and recovers."""
        for pid in children(self.database.pid)[-1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_postgresql(self, pause: float) -> None:
        for pid in (self.database.pid, *children(self.database.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(pause)
        self.database = self._start()

    def _start(self) -> embedded_postgres.Server:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return embedded_postgres.start(self._place)
            except embedded_postgres.EmbeddedPostgresError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)  # what was killed is still let go of

    def _process(self, log: Path, *command: str) -> Process:
        return Process(log, self.environment, *command)

    def end(self) -> None:
        for process in (self._undoer, self.worker, self.web):
            process.end()

    def remove(self) -> None:
        for process in (self._undoer, self.worker, self.web):
            if process.runs:
                process.kill()
        embedded_postgres.stop(self._place)


@contextmanager
def system(place: Path, receiver: str, agents: int):
    made = System(place, receiver, agents)
    try:
        yield made
    finally:
        made.remove()


def children(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split()]
