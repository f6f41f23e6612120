"""FastAPI and SQLAlchemy: a plain implementation for this comparison (plain_fastapi/)."""

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
from bench.copies import copy_id, insert_copies
from bench.peers import Case, create_venv
from bench.serving import ROOT, RunningServer, free_port, run_process, wait_until_ready
from orchestrator.server.gunicorn import workers

REQUIREMENTS = (
    "fastapi==0.163.2",
    "sqlalchemy[asyncio]==2.1.9",
    "asyncpg==0.32.0",
    "uvicorn[standard]==0.54.0",
)
TEMPLATE_KEY = "the template's"
"""The template's idempotency key; each copy gets its own."""


class StockFastAPI:
    name = "FastAPI"
    on_postgres = True

    def install(self) -> None:
        create_venv("fastapi", *REQUIREMENTS)

    @contextmanager
    def serve(self, folder: Path, database_url: str, log: Path) -> Iterator[RunningServer]:
        port = free_port()
        command = [str(create_venv("fastapi", *REQUIREMENTS)), "-m", "uvicorn", "--port", str(port)]
        # uvicorn kills a worker that does not answer in time, which a busy one may not.
        command += ["--workers", str(workers), "--timeout-worker-healthcheck", "60"]
        app = [*command, "--app-dir", "bench/peers/plain_fastapi", "app:app"]
        with run_process(app, log, cwd=ROOT, DATABASE_URL=database_url) as pid:
            yield wait_until_ready(RunningServer(f"http://127.0.0.1:{port}", pid), "/health", log)

    def cases(self, server: RunningServer, admin: "psycopg.Connection[Any]") -> Iterator[Case]:
        asking, reading = _create_caller(admin, "bench"), _create_caller(admin, "bench")
        person = _create_caller(admin, "finance")
        body = json.dumps({**ours.TASK_FIELDS, "target": "finance"})
        create = Request("POST", "/tasks", body, asking | {"Idempotency-Key": "bench-{n}"})
        yield Case(
            "POST /tasks/route",
            create,
            "the key makes the task unique, but no answer is kept; the events are rows like others",
        )

        mine = Template.create(server, admin, Request("POST", "/tasks", body, reading))
        mine.copy(admin, range(1, ours.TASKS_TO_READ))
        one = Request("GET", f"/tasks/{mine.task}", headers=reading)
        yield Case("GET /tasks/{id}", one, "the same")
        page = Request("GET", "/tasks?page_size=20", headers=reading)
        yield Case("GET /tasks (20)", page, "without a total")

        waiting = Template.create(server, admin, Request("POST", "/tasks", body, asking))
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
    """A pending task that others are copied from."""

    task: str
    approval: str
    digest: str

    @classmethod
    def create(
        cls, server: RunningServer, admin: "psycopg.Connection[Any]", create: Request
    ) -> "Template":
        task = create.send(server.url, 0).json()["task_id"]
        row = admin.execute(
            "SELECT approvals.id, payload_digest FROM approvals JOIN tasks ON tasks.id = task_id"
            " WHERE task_id = %s",
            [task],
        ).fetchone()
        approval, digest = row or ("", "")
        return cls(task, str(approval), digest)

    @property
    def copies(self) -> str:
        """The id template of each copy, and of its approval."""
        return copy_id(self.task)

    def copy(self, admin: "psycopg.Connection[Any]", numbers: range) -> None:
        replacements = {
            self.task: self.copies,
            self.approval: self.copies,
            TEMPLATE_KEY: self.copies,
        }
        insert_copies(admin, "tasks", {"id": self.task}, replacements, numbers)
        insert_copies(admin, "approvals", {"id": self.approval}, replacements, numbers)


def _create_caller(admin: "psycopg.Connection[Any]", role: str) -> dict[str, str]:
    """Create a caller; return the headers of its requests."""
    key = uuid4().hex
    admin.execute(
        "INSERT INTO callers (id, name, role, key_hash) VALUES (%s, %s, %s, %s)",
        [uuid4(), role, role, hashlib.sha256(key.encode()).hexdigest()],
    )
    return ours.JSON | {"Authorization": f"Bearer {key}", "Idempotency-Key": TEMPLATE_KEY}
