"""Prefect's server on PostgreSQL: a flow run that is paused for input, and resumed with it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from bench import ours
from bench.clients import Request
from bench.copies import copy, numbered
from bench.errors import BenchError
from bench.peers import Case, venv
from bench.serving import ROOT, Served, answering, free_port, running

PINNED = ("prefect==3.9.1",)
KEYS = {name: f"approval-{name}" for name in ("response", "schema", "description")}
PAUSED = {
    "type": "PAUSED",
    "name": "Paused",
    "state_details": {"pause_timeout": "2100-01-01T00:00:00Z", "run_input_keyset": KEYS},
}
SCHEMA = {
    "title": "Approval",
    "type": "object",
    "properties": {"approved": {"title": "Approved", "type": "boolean"}},
    "required": ["approved"],
}


class Prefect:
    name = "Prefect"
    on_postgres = True

    def install(self) -> None:
        venv("prefect", *PINNED)

    @contextmanager
    def served(self, place: Path, database_url: str, log: Path) -> Iterator[Served]:
        port = free_port()
        uvicorn = [str(venv("prefect", *PINNED)), "-m", "uvicorn", "--port", str(port)]
        command = [*uvicorn, "--factory", "prefect.server.api.server:create_app"]
        told = {
            "PREFECT_HOME": str(place / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url.replace(
                "postgresql://", "postgresql+asyncpg://"
            ),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
        }
        with running(command, log, cwd=ROOT, **told) as pid:
            yield answering(Served(f"http://127.0.0.1:{port}", pid), "/api/health", log)

    def cases(self, served: Served, admin: "psycopg.Connection[Any]") -> Iterator[Case]:
        def sent(path: str, body: object) -> Any:
            request = Request("POST", f"/api{path}", json.dumps(body), ours.JSON)
            answer: httpx2.Response = request.send(served.url, 0)
            return answer.json() if answer.content else None

        flow = sent("/flows/", {"name": "refund"})["id"]
        run = {"flow_id": flow, "parameters": ours.ASKED, "state": PAUSED}
        created = json.dumps(run | {"idempotency_key": "bench-{n}"})
        yield Case(
            "POST /tasks/route",
            Request("POST", "/api/flow_runs/", created, ours.JSON),
            "a flow run that begins paused; nobody is authenticated, one run for a key",
        )

        waiting = sent("/flow_runs/", run | {"idempotency_key": "the template's"})
        task, state = waiting["id"], waiting["state"]["id"]
        given = {"key": KEYS["schema"], "value": json.dumps(SCHEMA)}
        sent(f"/flow_runs/{task}/input", given)
        replaced = {
            task: numbered(task),
            state: numbered(state),
            "the template's": numbered(task),
            _one(admin, "SELECT id FROM flow_run_input WHERE flow_run_id = %s", task): numbered(
                task
            ),
        }

        def prepare(first: int, count: int) -> None:
            numbers = range(first, first + count)
            copy(admin, "flow_run", {"id": task}, replaced, numbers)
            copy(admin, "flow_run_state", {"id": state}, replaced, numbers)
            copy(admin, "flow_run_input", {"flow_run_id": task}, replaced, numbers)

        body = {"run_input": {"approved": True}}
        prepare(0, 1)
        said = sent(f"/flow_runs/{numbered(task).replace('{n}', '0' * 12)}/resume", body)
        if said["status"] != "ACCEPT":
            raise BenchError(f"Prefect does not resume: {said['details']}")
        yield Case(
            "POST /approvals/{id}/approve",
            Request("POST", f"/api/flow_runs/{numbered(task)}/resume", json.dumps(body), ours.JSON),
            "resumed with input that is held against its schema; nobody is authenticated",
            prepare,
        )
        poll = Request("GET", f"/api/flow_runs/{task}", headers=ours.JSON)
        yield Case("GET /tasks/{id}", poll, "a flow run and its state")


def _one(admin: "psycopg.Connection[Any]", statement: str, *values: object) -> str:
    found = admin.execute(statement.encode(), values).fetchone()
    return str(found[0]) if found else ""
