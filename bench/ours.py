"""Our operations as requests, with the rows that they need prepared in advance."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import psycopg
from psycopg import sql

from bench import serving
from bench.clients import Request
from bench.copies import insert_copies
from bench.harness import SETTLE_SECONDS, Prepare
from bench.serving import RunningServer
from orchestrator.ops.embedded_postgres import Server

TASK_FIELDS: dict[str, Any] = {"task_type": "refund_approval", "data": {"amount": "42.50"}}
ROUTE_BODY = {"target": "finance", "task": TASK_FIELDS}
TASKS_TO_READ = 100
"""Tasks of the reading agent: five pages."""

TO_DECIDE, TO_READ = "1", "2"
"""What prepared tasks are for: the first digit of all their ids."""

PASSWORD = "bench"  # noqa: S105  # of a user in a throw-away database
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Operation:
    """A request that stands for one operation; ``prepare`` inserts the rows it consumes."""

    name: str
    request: Request
    prepare: Prepare | None = None
    note: str = ""


def make_id(purpose: str, kind: str) -> str:
    """The template of a prepared row's id: a UUID that ends with ``{n}``."""
    return f"{purpose}{kind:0>7}-0000-4000-8000-{{n}}"


@dataclass(frozen=True, slots=True)
class Template:
    """A pending task that others are copied from."""

    task: UUID
    approval: UUID
    trace: UUID
    events: tuple[UUID, UUID]
    """task.routed and approval.requested."""
    digest: str

    def replacements(self, purpose: str) -> dict[str, str]:
        ids = (self.task, self.approval, self.trace, *self.events)
        kinds = ("a", "b", "c", "d", "e")
        return {str(one): make_id(purpose, kind) for one, kind in zip(ids, kinds, strict=True)}


@dataclass(slots=True)
class World:
    """The agents, the reviewer and the templates in our database; no server yet."""

    admin: "psycopg.Connection[tuple[object, ...]]"
    asking_key: str
    reading_key: str
    waiting: Template
    session: UUID
    cookies: dict[str, str] = field(default_factory=dict)

    def log_in(self, web: RunningServer) -> None:
        """Log in alice, who can decide on the tasks, through the admin's form."""
        with httpx2.Client(base_url=web.url, timeout=60) as browser:
            browser.get("/admin/login/").raise_for_status()
            form = {"username": "alice", "password": PASSWORD, "next": "/admin/"}
            form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
            browser.post("/admin/login/", data=form)
            self.cookies = {name: browser.cookies[name] for name in ("csrftoken", "sessionid")}

    def prepare(self, first: int, count: int) -> None:
        """Insert tasks that wait for alice, with these numbers."""
        copy_template(self.admin, self.waiting, TO_DECIDE, range(first, first + count))


def list_operations(world: World) -> list[Operation]:
    routing_headers = {"Authorization": f"Bearer {world.asking_key}"}
    reading_headers = {"Authorization": f"Bearer {world.reading_key}"}
    write_headers = JSON | routing_headers | {"Idempotency-Key": "bench-{n}"}
    cookie = "; ".join(f"{name}={value}" for name, value in world.cookies.items())
    person_headers = JSON | {"Cookie": cookie, "X-CSRFToken": world.cookies["csrftoken"]}
    decision = json.dumps({"payload_digest": world.waiting.digest})
    task_id = make_id(TO_READ, "a").replace("{n}", f"{1:012}")
    return [
        Operation(
            "POST /tasks/route",
            Request("POST", "/tasks/route", json.dumps(ROUTE_BODY), headers=write_headers),
        ),
        Operation(
            "POST /sessions",
            Request(
                "POST", "/sessions", json.dumps({"agent_role": "bench"}), headers=write_headers
            ),
        ),
        Operation(
            "GET /sessions/{id}",
            Request("GET", f"/sessions/{world.session}", headers=routing_headers),
        ),
        Operation("GET /tasks/{id}", Request("GET", f"/tasks/{task_id}", headers=reading_headers)),
        Operation(
            "GET /tasks (20)", Request("GET", "/tasks?page_size=20", headers=reading_headers)
        ),
        Operation(
            "POST /approvals/{id}/approve",
            Request(
                "POST",
                f"/approvals/{make_id(TO_DECIDE, 'b')}/approve",
                decision,
                headers=person_headers,
            ),
            world.prepare,
        ),
    ]


@contextmanager
def prepare_world(folder: Path, server: Server) -> Iterator[World]:
    """Migrate and populate our database."""
    os.environ.update(serving.server_environment(folder, server))
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=serving.ROOT, check=True)
    import django

    django.setup()
    logging.disable(logging.INFO)
    with psycopg.connect(server.url, autocommit=True) as admin:
        yield _populate(admin)


def _populate(admin: "psycopg.Connection[tuple[object, ...]]") -> World:
    from django.contrib.auth.models import Group, User
    from django.db import connection

    from audit_app.base.actors import Actor
    from sessions_app import agents
    from sessions_app import operations as floor

    alice = User.objects.create_user("alice", password=PASSWORD, is_staff=True)
    alice.groups.add(Group.objects.create(name="finance"))
    create_agent = partial(agents.create_agent, by=Actor.system("bench"), roles=["bench"])
    (asking, asking_key), (reading, reading_key) = create_agent("asks"), create_agent("reads")
    waiting = create_template(asking.as_actor())
    copy_template(admin, create_template(reading.as_actor()), TO_READ, range(1, TASKS_TO_READ + 1))
    session = floor.open_session(by=asking.as_actor(), agent_role="bench", trace_id=uuid4())
    connection.close()
    return World(admin, asking_key.text, reading_key.text, waiting, session.pk)


def create_template(by: object) -> Template:
    """Route one task of this agent's that waits for finance."""
    from audit_app.models import Event
    from sessions_app.tasks.routing import NewTask, route_task

    trace_id = uuid4()
    task = route_task(
        NewTask(to_role="finance", **TASK_FIELDS, idempotency_key=str(trace_id)),
        by=by,  # type: ignore[arg-type]
        trace_id=trace_id,
    )
    approval = task.approvals.get()
    routed, requested = (Event.objects.get(subject_id=one.pk).pk for one in (task, approval))
    return Template(task.pk, approval.pk, trace_id, (routed, requested), approval.payload_digest)


def copy_template(
    admin: "psycopg.Connection[tuple[object, ...]]",
    template: Template,
    purpose: str,
    numbers: range,
) -> None:
    """Insert copies of ``template``: tasks, their approvals and the events of both."""
    make = partial(
        insert_copies, admin, replacements=template.replacements(purpose), numbers=numbers
    )
    make("tasks", {"id": template.task})
    make("approvals", {"id": template.approval})
    for event in template.events:
        make("audit_events", {"id": event}, columns=["entry"])


def count_rows(admin: "psycopg.Connection[tuple[object, ...]]") -> dict[str, int]:
    """The number of rows in each table."""
    # Counts until two counts agree: work may still be in flight.
    tables = admin.execute("SELECT relname FROM pg_stat_user_tables ORDER BY relname").fetchall()
    counts = [
        sql.SQL("SELECT {}, count(*) FROM {}").format(str(name), sql.Identifier(str(name)))
        for (name,) in tables
    ]
    statement, before = sql.SQL(" UNION ALL ").join(counts), None
    while before != (current := {str(name): n for name, n in admin.execute(statement)}):
        before = current
        time.sleep(SETTLE_SECONDS)
    return {name: int(str(count)) for name, count in current.items()}
