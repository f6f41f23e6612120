"""Django REST framework as most would write it (drf/), with the Django of our environment."""

import json
import sys
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
from bench.peers import Case, run_program
from bench.serving import ROOT, RunningServer, free_port, run_process, wait_until_ready
from orchestrator.server.gunicorn import workers


class StockDRF:
    name = "stock DRF"
    on_postgres = True

    def install(self) -> None:
        """Nothing to install: it needs only Django and DRF, which we have."""

    @contextmanager
    def serve(self, folder: Path, database_url: str, log: Path) -> Iterator[RunningServer]:
        environment = {
            "DATABASE_URL": database_url,
            "DJANGO_SETTINGS_MODULE": "bench.peers.drf.settings",
        }
        run_program([sys.executable, "-m", "django", "migrate", "-v0"], environment=environment)
        port = free_port()
        server = [sys.executable, "-m", "gunicorn", "--workers", str(workers), "--threads", "4"]
        command = [*server, "--bind", f"127.0.0.1:{port}", "bench.peers.drf.wsgi"]
        with run_process(command, log, cwd=ROOT, **environment) as pid:
            yield wait_until_ready(
                RunningServer(f"http://127.0.0.1:{port}", pid), "/tasks/", log, status=401
            )

    def cases(self, server: RunningServer, admin: "psycopg.Connection[Any]") -> Iterator[Case]:
        asking, reading = (_create_caller(admin, name) for name in ("asks", "reads"))
        body = json.dumps({**ours.TASK_FIELDS, "target": "finance"})
        create = Request("POST", "/tasks/", body, asking)
        yield Case("POST /tasks/route", create, "no Idempotency-Key, no trail, no policy")

        mine = Template.create(server, admin, Request("POST", "/tasks/", body, reading))
        mine.copy(admin, range(1, ours.TASKS_TO_READ))
        one = Request("GET", f"/tasks/{mine.task}/", headers=reading)
        yield Case("GET /tasks/{id}", one, "the same")
        page = Request("GET", "/tasks/", headers=reading)
        yield Case("GET /tasks (20)", page, "the same")

        waiting = Template.create(server, admin, create)
        yield Case(
            "POST /approvals/{id}/approve",
            Request("POST", f"/approvals/{waiting.copies}/approve/", "{}", asking),
            "by a token; no digest, no vote, no trail, and nobody asks who may decide",
            lambda first, count: waiting.copy(admin, range(first, first + count)),
        )


@dataclass(frozen=True, slots=True)
class Template:
    """A pending task that others are copied from."""

    task: str
    approval: str

    @classmethod
    def create(
        cls, server: RunningServer, admin: "psycopg.Connection[Any]", create: Request
    ) -> "Template":
        task = create.send(server.url, 0).json()["id"]
        row = admin.execute("SELECT id FROM drf_approval WHERE task_id = %s", [task]).fetchone()
        return cls(task, str(row and row[0]))

    @property
    def copies(self) -> str:
        """The id template of each copy, and of its approval."""
        return copy_id(self.task)

    def copy(self, admin: "psycopg.Connection[Any]", numbers: range) -> None:
        replacements = {self.task: self.copies, self.approval: self.copies}
        insert_copies(admin, "drf_task", {"id": self.task}, replacements, numbers)
        insert_copies(admin, "drf_approval", {"id": self.approval}, replacements, numbers)


def _create_caller(admin: "psycopg.Connection[Any]", name: str) -> dict[str, str]:
    """Create a user; return the headers of their requests."""
    token = uuid4().hex
    admin.execute(
        "WITH made AS (INSERT INTO auth_user (password, is_superuser, username, first_name,"
        " last_name, email, is_staff, is_active, date_joined)"
        " VALUES ('!', false, %s, '', '', '', false, true, now()) RETURNING id)"
        " INSERT INTO authtoken_token (key, created, user_id) SELECT %s, now(), id FROM made",
        [name, token],
    )
    return ours.JSON | {"Authorization": f"Token {token}"}
