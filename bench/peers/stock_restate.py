"""Restate's server, whose handlers wait for awakeables; it keeps its log itself, on disk."""

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from bench import ours
from bench.clients import Request, Wrk
from bench.errors import BenchError
from bench.harness import next_first
from bench.peers import INSTALLED, Case, run
from bench.serving import Served, answering, free_port, running

PINNED = ("@restatedev/restate-server@1.7.12", "@restatedev/restate-sdk@1.17.2")
SERVICE = Path(__file__).parent / "restate" / "service.mjs"
HOME = INSTALLED / "restate"
MAKING_SECONDS = 120


class Restate:
    name = "Restate"
    on_postgres = False

    def __init__(self) -> None:
        self._awakeables = Path()

    def install(self) -> None:
        if shutil.which("npm") is None:
            raise BenchError("npm is missing, by which Restate is installed.")
        stamp, wanted = HOME / "requirements.txt", "\n".join(PINNED) + "\n"
        if not (stamp.exists() and stamp.read_text() == wanted):
            HOME.mkdir(parents=True, exist_ok=True)
            run(["npm", "install", "--silent", "--prefix", str(HOME), *PINNED], cwd=HOME)
            stamp.write_text(wanted)
        # Node looks for packages beside the file that it runs.
        shutil.copy(SERVICE, HOME / SERVICE.name)

    @contextmanager
    def served(self, place: Path, database_url: str, log: Path) -> Iterator[Served]:
        self._awakeables = place / "awakeables"
        self._awakeables.touch()
        service, ingress, admin, node = (free_port() for _ in range(4))
        (program,) = HOME.glob("node_modules/@restatedev/restate-server-*/bin/restate-server")
        told = {
            "RESTATE_BASE_DIR": str(place / "restate"),
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
            "RESTATE_DISABLE_TELEMETRY": "true",
        }
        handler = {"PORT": str(service), "AWAKEABLES": str(self._awakeables)}
        with (
            running(["node", SERVICE.name], log, cwd=HOME, **handler) as handler_pid,
            running([str(program)], log, cwd=place, **told) as pid,
        ):
            answering(Served(f"http://127.0.0.1:{admin}", pid), "/health", log)
            httpx2.post(
                f"http://127.0.0.1:{admin}/deployments",
                json={"uri": f"http://127.0.0.1:{service}"},
                timeout=60,
            ).raise_for_status()
            yield Served(f"http://127.0.0.1:{ingress}", pid, {"handler": handler_pid})

    def cases(self, served: Served, admin: "psycopg.Connection[Any]") -> Iterator[Case]:
        headers = ours.JSON | {"Idempotency-Key": "bench-{n}"}
        ask = Request("POST", "/approvals/ask/send", json.dumps(ours.ASKED), headers)
        yield Case(
            "POST /tasks/route",
            ask,
            "a call is accepted and durable, and a handler begins to wait; who asks and who may "
            "answer is not known",
        )
        resolve = Request(
            "POST",
            "/restate/awakeables/{line}/resolve",
            json.dumps({"approved": True}),
            ours.JSON,
            lines=self._awakeables,
        )

        def prepare(first: int, count: int) -> None:
            self._awakeables.write_text("")
            deadline = time.monotonic() + MAKING_SECONDS
            while self._awakeables.read_text().count("\n") < count:
                if time.monotonic() > deadline:
                    raise BenchError(f"{count} awakeables are not made in {MAKING_SECONDS} s.")
                Wrk(served.url, ask).run(1, next_first())

        yield Case(
            "POST /approvals/{id}/approve",
            resolve,
            "whoever knows the awakeable resolves it, and the handler ends; no person, no payload",
            prepare,
        )

    def waited(self, served: Served, number: int) -> float:
        """Seconds from the answer to whoever resolves an awakeable to that of whoever asked."""
        self._awakeables.write_text("")
        url, headers = f"{served.url}/approvals/ask", {"Idempotency-Key": f"waited-{number}"}
        with ThreadPoolExecutor(1) as pool, httpx2.Client(timeout=MAKING_SECONDS) as client:

            def ask() -> float:
                client.post(url, json=ours.ASKED, headers=headers).raise_for_status()
                return time.monotonic()

            answered = pool.submit(ask)
            while not (awakeable := self._awakeables.read_text().strip()):
                time.sleep(0.01)
            resolve = f"{served.url}/restate/awakeables/{awakeable}/resolve"
            client.post(resolve, json={"approved": True}).raise_for_status()
            done = time.monotonic()
            return answered.result() - done
