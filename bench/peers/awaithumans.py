"""awaithumans: a server through which agents ask humans, on PostgreSQL as it is deployed."""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from bench import ours
from bench.clients import Request
from bench.copies import copy_id, insert_copies
from bench.peers import Case, create_venv
from bench.serving import ROOT, RunningServer, free_port, run_process, wait_until_ready

REQUIREMENTS = ("awaithumans[server]==0.1.12", "sqlalchemy==2.0.58")
"""SQLAlchemy 2.1 selects a driver for its migrations that awaithumans does not install."""

TEMPLATE_KEY = "the template's"
"""The template's idempotency key; each copy gets its own."""

SCHEMA = {"type": "object", "properties": {"approved": {"type": "boolean"}}}
TASK_BODY = {
    "task": "refund_approval",
    "payload": {"amount": "42.50"},
    "payload_schema": {"type": "object", "properties": {"amount": {"type": "string"}}},
    "response_schema": SCHEMA,
    "timeout_seconds": 604_800,
}


class AwaitHumans:
    name = "awaithumans"
    on_postgres = True

    def __init__(self) -> None:
        self._token = uuid4().hex

    def install(self) -> None:
        create_venv("awaithumans", *REQUIREMENTS)

    @contextmanager
    def serve(self, folder: Path, database_url: str, log: Path) -> Iterator[RunningServer]:
        port = free_port()
        program = create_venv("awaithumans", *REQUIREMENTS).with_name("awaithumans")
        command = [str(program), "serve", "--host", "127.0.0.1", "--port", str(port)]
        environment = {
            "AWAITHUMANS_DATABASE_URL": database_url,
            "AWAITHUMANS_PAYLOAD_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "AWAITHUMANS_ADMIN_API_TOKEN": self._token,
            "AWAITHUMANS_PUBLIC_URL": f"http://127.0.0.1:{port}",
        }
        with run_process(command, log, cwd=ROOT, **environment) as pid:
            yield wait_until_ready(
                RunningServer(f"http://127.0.0.1:{port}", pid), "/api/health", log
            )

    def cases(self, server: RunningServer, admin: "psycopg.Connection[Any]") -> Iterator[Case]:
        headers = ours.JSON | {"Authorization": f"Bearer {self._token}"}

        def creation(key: str) -> Request:
            body = json.dumps(TASK_BODY | {"idempotency_key": key})
            return Request("POST", "/api/tasks", body, headers)

        yield Case("POST /tasks/route", creation("bench-{n}"), "one task for a key, too")

        waiting = creation(TEMPLATE_KEY).send(server.url, 0).json()["id"]
        body = json.dumps({"response": {"approved": True}})
        complete = Request("POST", f"/api/tasks/{copy_id(waiting)}/complete", body, headers)

        def prepare(first: int, count: int) -> None:
            numbers = range(first, first + count)
            insert_copies(
                admin,
                "tasks",
                {"id": waiting},
                {waiting: copy_id(waiting), TEMPLATE_KEY: copy_id(waiting)},
                numbers,
            )

        yield Case(
            "POST /approvals/{id}/approve",
            complete,
            "by the server's one token, which may everything; nobody asks who may decide, and "
            "nothing is bound to what was shown",
            prepare,
        )

        done = creation("done").send(server.url, 0).json()["id"]
        Request("POST", f"/api/tasks/{done}/complete", body, headers).send(server.url, 0)
        poll = Request("GET", f"/api/tasks/{done}/poll", headers=headers)
        yield Case("GET /tasks/{id}", poll, "what its client asks for to learn of a decision")
