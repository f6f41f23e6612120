"""Prefect's server on PostgreSQL: a flow run that pauses for input and is resumed with it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg

from bench import ours
from bench.clients import Request
from bench.copies import copy_id, insert_copies
from bench.errors import BenchError
from bench.peers import Case, create_venv
from bench.serving import ROOT, RunningServer, free_port, run_process, wait_until_ready

REQUIREMENTS = ("prefect==3.9.1",)
INPUT_KEYS = {name: f"approval-{name}" for name in ("response", "schema", "description")}
PAUSED = {
    "type": "PAUSED",
    "name": "Paused",
    "state_details": {"pause_timeout": "2100-01-01T00:00:00Z", "run_input_keyset": INPUT_KEYS},
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
        create_venv("prefect", *REQUIREMENTS)

    @contextmanager
    def serve(self, folder: Path, database_url: str, log: Path) -> Iterator[RunningServer]:
        port = free_port()
        uvicorn = [str(create_venv("prefect", *REQUIREMENTS)), "-m", "uvicorn", "--port", str(port)]
        command = [*uvicorn, "--factory", "prefect.server.api.server:create_app"]
        environment = {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url.replace(
                "postgresql://", "postgresql+asyncpg://"
            ),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
        }
        with run_process(command, log, cwd=ROOT, **environment) as pid:
            yield wait_until_ready(
                RunningServer(f"http://127.0.0.1:{port}", pid), "/api/health", log
            )

    def cases(self, server: RunningServer, admin: "psycopg.Connection[Any]") -> Iterator[Case]:
        def post(path: str, body: object) -> Any:
            request = Request("POST", f"/api{path}", json.dumps(body), ours.JSON)
            response: httpx2.Response = request.send(server.url, 0)
            return response.json() if response.content else None

        flow = post("/flows/", {"name": "refund"})["id"]
        run = {"flow_id": flow, "parameters": ours.TASK_FIELDS, "state": PAUSED}
        created = json.dumps(run | {"idempotency_key": "bench-{n}"})
        yield Case(
            "POST /tasks/route",
            Request("POST", "/api/flow_runs/", created, ours.JSON),
            "a flow run that begins paused; nobody is authenticated, one run for a key",
        )

        waiting = post("/flow_runs/", run | {"idempotency_key": "the template's"})
        task, state = waiting["id"], waiting["state"]["id"]
        schema_input = {"key": INPUT_KEYS["schema"], "value": json.dumps(SCHEMA)}
        post(f"/flow_runs/{task}/input", schema_input)
        replacements = {
            task: copy_id(task),
            state: copy_id(state),
            "the template's": copy_id(task),
            _fetch_value(
                admin, "SELECT id FROM flow_run_input WHERE flow_run_id = %s", task
            ): copy_id(task),
        }

        def prepare(first: int, count: int) -> None:
            numbers = range(first, first + count)
            insert_copies(admin, "flow_run", {"id": task}, replacements, numbers)
            insert_copies(admin, "flow_run_state", {"id": state}, replacements, numbers)
            insert_copies(admin, "flow_run_input", {"flow_run_id": task}, replacements, numbers)

        body = {"run_input": {"approved": True}}
        prepare(0, 1)
        resumed = post(f"/flow_runs/{copy_id(task).replace('{n}', '0' * 12)}/resume", body)
        if resumed["status"] != "ACCEPT":
            raise BenchError(f"Prefect does not resume: {resumed['details']}")
        yield Case(
            "POST /approvals/{id}/approve",
            Request("POST", f"/api/flow_runs/{copy_id(task)}/resume", json.dumps(body), ours.JSON),
            "resumed with input that is held against its schema; nobody is authenticated",
            prepare,
        )
        poll = Request("GET", f"/api/flow_runs/{task}", headers=ours.JSON)
        yield Case("GET /tasks/{id}", poll, "a flow run and its state")


def _fetch_value(admin: "psycopg.Connection[Any]", statement: str, *values: object) -> str:
    row = admin.execute(statement.encode(), values).fetchone()
    return str(row[0]) if row else ""
