"""FastAPI and SQLAlchemy, written plainly for this (plain_fastapi/)."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from bench import ours
from bench.clients import Request
from bench.copies import copy, numbered
from bench.peers import Case, venv
from bench.serving import ROOT, Served, answering, free_port, running
from orchestrator.server.gunicorn import workers

PINNED = (
    "fastapi==0.163.2",
    "sqlalchemy[asyncio]==2.1.9",
    "asyncpg==0.32.0",
    "uvicorn[standard]==0.54.0",
)
KEY = "the template's"
"""Its idempotency key, of which each copy has its own."""


class StockFastAPI:
    name = "FastAPI"
    on_postgres = True

    def install(self) -> None:
        venv("fastapi", *PINNED)

    @contextmanager
    def served(self, place: Path, database_url: str, log: Path) -> Iterator[Served]:
        port = free_port()
        command = [str(venv("fastapi", *PINNED)), "-m", "uvicorn", "--port", str(port)]
        # A busy process must not be taken for one that hangs, and be killed.
        command += ["--workers", str(workers), "--timeout-worker-healthcheck", "60"]
        app = [*command, "--app-dir", "bench/peers/plain_fastapi", "app:app"]
        with running(app, log, cwd=ROOT, DATABASE_URL=database_url) as pid:
            yield answering(Served(f"http://127.0.0.1:{port}", pid), "/health", log)

    def cases(self, served: Served, admin: "psycopg.Connection[Any]") -> Iterator[Case]:
        asking, reading = _headers(admin, "bench"), _headers(admin, "bench")
        person = _headers(admin, "finance")
        body = json.dumps({**ours.ASKED, "target": "finance"})
        create = Request("POST", "/tasks", body, asking | {"Idempotency-Key": "bench-{n}"})
        yield Case(
            "POST /tasks/route",
            create,
            "the key makes the task unique, but no answer is kept; the events are rows like others",
        )

        mine = Template.made(served, admin, Request("POST", "/tasks", body, reading))
        mine.copy(admin, range(1, ours.READ))
        one = Request("GET", f"/tasks/{mine.task}", headers=reading)
        yield Case("GET /tasks/{id}", one, "the same")
        page = Request("GET", "/tasks?page_size=20", headers=reading)
        yield Case("GET /tasks (20)", page, "without a total")

        waiting = Template.made(served, admin, Request("POST", "/tasks", body, asking))
        yield Case(
            "POST /approvals/{id}/approve",
            Request(
                "POST",
                f"/approvals/{waiting.copies}/approve",
                json.dumps({"payload_digest": waiting.digest}),
                person,
            ),
            "by a key; bound to the digest and recorded, but there are no votes and no policies",
            lambda first, count: waiting.copy(admin, range(first, first + count)),
        )


@dataclass(frozen=True, slots=True)
class Template:
    """A task that waits, of which others are made."""

    task: str
    approval: str
    digest: str

    @classmethod
    def made(cls, served: Served, admin: "psycopg.Connection[Any]", create: Request) -> "Template":
        task = create.send(served.url, 0).json()["task_id"]
        found = admin.execute(
            "SELECT approvals.id, payload_digest FROM approvals JOIN tasks ON tasks.id = task_id"
            " WHERE task_id = %s",
            [task],
        ).fetchone()
        approval, digest = found or ("", "")
        return cls(task, str(approval), digest)

    @property
    def copies(self) -> str:
        """The identity of each copy, and of its approval."""
        return numbered(self.task)

    def copy(self, admin: "psycopg.Connection[Any]", numbers: range) -> None:
        replaced = {self.task: self.copies, self.approval: self.copies, KEY: self.copies}
        copy(admin, "tasks", {"id": self.task}, replaced, numbers)
        copy(admin, "approvals", {"id": self.approval}, replaced, numbers)


def _headers(admin: "psycopg.Connection[Any]", role: str) -> dict[str, str]:
    """Those of a new caller's requests."""
    key = uuid4().hex
    admin.execute(
        "INSERT INTO callers (id, name, role, key_hash) VALUES (%s, %s, %s, %s)",
        [uuid4(), role, role, hashlib.sha256(key.encode()).hexdigest()],
    )
    return ours.JSON | {"Authorization": f"Bearer {key}", "Idempotency-Key": KEY}
