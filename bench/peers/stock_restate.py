"""Restate's server, whose handlers wait for awakeables; it stores its own log on disk."""

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
from bench.harness import reserve_numbers
from bench.peers import PEERS_FOLDER, Case, run_program
from bench.serving import RunningServer, free_port, run_process, wait_until_ready

REQUIREMENTS = ("@restatedev/restate-server@1.7.12", "@restatedev/restate-sdk@1.17.2")
SERVICE = Path(__file__).parent / "restate" / "service.mjs"
RESTATE_FOLDER = PEERS_FOLDER / "restate"
PREPARE_TIMEOUT = 120


class Restate:
    name = "Restate"
    on_postgres = False

    def __init__(self) -> None:
        self._awakeables = Path()

    def install(self) -> None:
        if shutil.which("npm") is None:
            raise BenchError("npm is missing, by which Restate is installed.")
        stamp, wanted = RESTATE_FOLDER / "requirements.txt", "\n".join(REQUIREMENTS) + "\n"
        if not (stamp.exists() and stamp.read_text() == wanted):
            RESTATE_FOLDER.mkdir(parents=True, exist_ok=True)
            run_program(
                ["npm", "install", "--silent", "--prefix", str(RESTATE_FOLDER), *REQUIREMENTS],
                cwd=RESTATE_FOLDER,
            )
            stamp.write_text(wanted)
        # Node resolves packages relative to the file that it runs.
        shutil.copy(SERVICE, RESTATE_FOLDER / SERVICE.name)

    @contextmanager
    def serve(self, folder: Path, database_url: str, log: Path) -> Iterator[RunningServer]:
        self._awakeables = folder / "awakeables"
        self._awakeables.touch()
        service, ingress, admin, node = (free_port() for _ in range(4))
        (program,) = RESTATE_FOLDER.glob(
            "node_modules/@restatedev/restate-server-*/bin/restate-server"
        )
        environment = {
            "RESTATE_BASE_DIR": str(folder / "restate"),
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
            "RESTATE_DISABLE_TELEMETRY": "true",
        }
        handler = {"PORT": str(service), "AWAKEABLES": str(self._awakeables)}
        with (
            run_process(["node", SERVICE.name], log, cwd=RESTATE_FOLDER, **handler) as handler_pid,
            run_process([str(program)], log, cwd=folder, **environment) as pid,
        ):
            wait_until_ready(RunningServer(f"http://127.0.0.1:{admin}", pid), "/health", log)
            httpx2.post(
                f"http://127.0.0.1:{admin}/deployments",
                json={"uri": f"http://127.0.0.1:{service}"},
                timeout=60,
            ).raise_for_status()
            yield RunningServer(f"http://127.0.0.1:{ingress}", pid, {"handler": handler_pid})

    def cases(self, server: RunningServer, admin: "psycopg.Connection[Any]") -> Iterator[Case]:
        headers = ours.JSON | {"Idempotency-Key": "bench-{n}"}
        ask = Request("POST", "/approvals/ask/send", json.dumps(ours.TASK_FIELDS), headers)
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
            deadline = time.monotonic() + PREPARE_TIMEOUT
            while self._awakeables.read_text().count("\n") < count:
                if time.monotonic() > deadline:
                    raise BenchError(f"{count} awakeables are not made in {PREPARE_TIMEOUT} s.")
                Wrk(server.url, ask).run(1, reserve_numbers())

        yield Case(
            "POST /approvals/{id}/approve",
            resolve,
            "whoever knows the awakeable resolves it, and the handler ends; no person, no payload",
            prepare,
        )

    def time_decision(self, server: RunningServer, number: int) -> float:
        """Seconds from the response to whoever resolves an awakeable to the waiting caller's."""
        self._awakeables.write_text("")
        url, headers = f"{server.url}/approvals/ask", {"Idempotency-Key": f"waited-{number}"}
        with ThreadPoolExecutor(1) as pool, httpx2.Client(timeout=PREPARE_TIMEOUT) as client:

            def ask() -> float:
                client.post(url, json=ours.TASK_FIELDS, headers=headers).raise_for_status()
                return time.monotonic()

            answer = pool.submit(ask)
            while not (awakeable := self._awakeables.read_text().strip()):
                time.sleep(0.01)
            resolve = f"{server.url}/restate/awakeables/{awakeable}/resolve"
            client.post(resolve, json={"approved": True}).raise_for_status()
            resolved_at = time.monotonic()
            return answer.result() - resolved_at
