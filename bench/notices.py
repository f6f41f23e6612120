"""The time until a mail about new work arrives: ``python -m bench.notices [--pairs 5]``.

Rounds of two kinds take turns in one run, with one worker: idle ones, and loaded ones, in which a
webhook whose receiver takes nine seconds has a backlog, and a replay of thousands of events to a
fast receiver runs. The time of a notice runs from the return of the commit that routes a task to
the arrival of the mail at a server of the bench's own. The last line is the median of the pairs'
ratios, the p95 of the loaded round to that of the idle one: at most MAX_RATIO.
"""

import argparse
import logging
import os
import queue
import socketserver
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from bench import serving
from bench.errors import BenchError

NOTICES = 40
"""In each round."""
PAUSE = 0.1
"""Seconds between two notices, so that each finds the worker at rest from the last one."""
SLOW_RECEIVER = 9.0
"""Seconds until the slow receiver answers."""
BACKLOG = 100
"""Events that wait for the slow receiver when a loaded round begins."""
REPLAYED = 3000
MAX_RATIO = 1.5
TIMEOUT = 60

S = TypeVar("S", bound=socketserver.BaseServer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder,
        serving.run_postgres(Path(folder)) as server,
        _serve(MailServer()) as mail,
        _serve(Receiver(0.0)) as fast,
        _serve(Receiver(SLOW_RECEIVER)) as slow,
    ):
        environment = serving.server_environment(Path(folder), server) | {
            "EMAIL_URL": f"smtp://127.0.0.1:{mail.server_address[1]}",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        os.environ.update(environment)
        import django

        django.setup()
        logging.disable(logging.INFO)
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        command = [sys.executable, "manage.py", "worker"]
        log = Path(folder) / "worker.log"
        with serving.run_process(command, log, cwd=serving.ROOT, **environment):
            _measure(World(mail, fast, slow), options.pairs)


def _measure(world: "World", pairs: int) -> None:
    times: dict[str, list[float]] = {"idle": [], "loaded": []}
    print("| round | notices | p50 ms | p95 ms | replayed meanwhile |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for _ in range(pairs):
        for kind in times:
            before = world.fast.received
            if kind == "loaded":
                world.start_load()
            measured = [world.time_notice() for _ in range(NOTICES)]
            replayed = world.fast.received - before
            if kind == "loaded":
                world.stop_load()
            times[kind].append(_percentile(measured, 0.95))
            row = f"{_percentile(measured, 0.5):.1f} | {_percentile(measured, 0.95):.1f}"
            print(f"| {kind} | {NOTICES} | {row} | {replayed} |", flush=True)
    idle, loaded = times["idle"], times["loaded"]
    ratios = [after / before for before, after in zip(idle, loaded, strict=True)]
    ratio, least, most = statistics.median(ratios), min(ratios), max(ratios)
    verdict = "holds" if ratio <= MAX_RATIO else "does not hold"
    print(f"\np95 idle {statistics.median(idle):.1f} ms, loaded {statistics.median(loaded):.1f} ms")
    print(f"ratio {ratio:.2f} ({least:.2f} to {most:.2f}), at most {MAX_RATIO}: {verdict}")


def _percentile(times: list[float], share: float) -> float:
    ordered = sorted(times)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > until:
            raise BenchError("The worker does not do its work.")
        time.sleep(0.05)


class World:
    """An agent, a reviewer who gets mail, and two webhooks."""

    def __init__(self, mail: "MailServer", fast: "Receiver", slow: "Receiver") -> None:
        from django.contrib.auth.models import Group, User

        from audit_app.base.actors import Actor
        from audit_app.live import event_log
        from audit_app.models import ConsumerOffset
        from audit_app.webhooks import operations
        from sessions_app import agents

        # A new worker begins at the end of the trail.
        _wait(lambda: ConsumerOffset.objects.count() == 2)
        self._mail, self.fast = mail, fast
        self._by = Actor.system("bench")
        self._agent, _ = agents.create_agent("bench", by=self._by, roles=["asks"])
        person = User.objects.create(username="bench", email="bench@example.com", is_staff=True)
        person.groups.add(Group.objects.create(name="decides"))
        self._start = event_log.find_end()
        self._webhooks = {
            name: operations.create_webhook(
                name, by=self._by, url=receiver.url, event_types=["agent.*"], roles=[]
            )[0].pk
            for name, receiver in (("fast", fast), ("slow", slow))
        }
        self._pause("slow")
        for _ in range(REPLAYED):
            self._add_event()
        _wait(lambda: fast.received >= REPLAYED)

    def time_notice(self) -> float:
        """Seconds from the commit of one task to the arrival of its mail."""
        from sessions_app.tasks.routing import NewTask, route_task

        time.sleep(PAUSE)
        key = str(uuid4())
        task = NewTask(to_role="decides", task_type="bench", data={}, idempotency_key=key)
        route_task(task, by=self._agent.as_actor(), trace_id=uuid4())
        committed_at = time.monotonic()
        return self._mail.arrivals.get(timeout=TIMEOUT) - committed_at

    def start_load(self) -> None:
        """Let the slow receiver be sent its backlog, and the fast one everything once more."""
        from audit_app.webhooks import operations

        for _ in range(BACKLOG):
            self._add_event()
        operations.resume(self._webhooks["slow"], by=self._by)
        before = self.fast.received
        operations.replay(self._webhooks["fast"], by=self._by, after=self._start)
        _wait(lambda: self.fast.received > before)

    def stop_load(self) -> None:
        """Pause both webhooks, and wait until nothing is in flight."""
        from audit_app.models import Delivery
        from audit_app.webhooks import operations

        for name in self._webhooks:
            self._pause(name)
        _wait(lambda: not Delivery.objects.filter(status="waiting").exists())
        Delivery.objects.filter(webhook=self._webhooks["fast"]).update(status="delivered")
        operations.resume(self._webhooks["fast"], by=self._by)

    def _pause(self, name: str) -> None:
        from audit_app.webhooks import operations

        operations.pause(self._webhooks[name], by=self._by)

    def _add_event(self) -> None:
        from audit_app.trail.notes import add_event

        add_event("agent.noted", by=self._agent.as_actor(), metadata={}, trace_id=uuid4())


class MailServer(socketserver.ThreadingTCPServer):
    """Takes every mail and notes when it came."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _MailHandler)
        self.arrivals: queue.Queue[float] = queue.Queue()


class _MailHandler(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._answer("220 bench")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self._answer("354 go on")
                while self.rfile.readline() != b".\r\n":
                    pass
                self.server.arrivals.put(time.monotonic())
            self._answer("221 bye" if verb == b"QUIT" else "250 fine")

    def _answer(self, text: str) -> None:
        with suppress(OSError):
            self.wfile.write(f"{text}\r\n".encode())


class Receiver(ThreadingHTTPServer):
    """A webhook's receiver that answers after ``seconds``."""

    daemon_threads = True

    def __init__(self, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _ReceiverHandler)
        self.seconds, self.received = seconds, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _ReceiverHandler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.server.seconds)
        self.server.received += 1
        with suppress(OSError):
            self.send_response(204)
            self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def _serve(server: S) -> Iterator[S]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
