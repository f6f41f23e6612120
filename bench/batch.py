"""How many tasks a second come in by batches: ``python -m bench.batch [--rounds 7] [--clients 1]``.

``POST /tasks/route:batch`` with 500 tasks, as gunicorn serves it, and beside it, in turns, a bare
COPY of the same rows: each task, its approval where it asks for one, and their events, in one
transaction, into the same tables with the same triggers and durability. What is copied was written
down before the clock starts, so that the COPY has nothing to do but to send it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psycopg

from bench import serving

MOST = 500
KINDS = {"that ask for nobody": "notification", "that ask for one yes": "refund_approval"}
FRESH = """
CREATE TEMP TABLE fresh ON COMMIT DROP AS
    SELECT id AS old, gen_random_uuid() AS id, clock_timestamp() AS at FROM (
        SELECT id FROM tasks WHERE trace_id = %(trace)s
        UNION ALL SELECT id FROM approvals WHERE trace_id = %(trace)s) AS made
"""
INSTEAD = {
    "id": "fresh.id",
    "created_at": "fresh.at",
    "updated_at": "fresh.at",
    "idempotency_key": "gen_random_uuid()::text",
    "task_id": "(SELECT id FROM fresh WHERE old = task_id)",
}
COLUMNS = """
SELECT column_name FROM information_schema.columns
WHERE table_name = %s AND table_schema = 'public' AND is_generated = 'NEVER'
"""
EVENTS = """
SELECT audit_entry(event_type, actor, actor_id, subject_type, fresh.id, seq, from_state, to_state,
    role, trace_id, (entry::json -> 'metadata')::text, gen_random_uuid(), fresh.at)
FROM audit_events JOIN fresh ON fresh.old = subject_id
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=4, help="a round and a client")
    parser.add_argument("--clients", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as temporary:
        place = Path(temporary)
        with serving.postgres(place) as server:
            _measured(server.url, serving.environment(place, server), place, asked)


def _measured(database: str, told: dict[str, str], place: Path, asked: argparse.Namespace) -> None:
    env = os.environ | told
    manage = [sys.executable, "manage.py"]
    subprocess.run([*manage, "migrate", "-v0"], cwd=serving.ROOT, env=env, check=True)
    create = [*manage, "create_agent", "bench", "--role", "bench", "--format", "json"]
    made = subprocess.run(
        create, cwd=serving.ROOT, env=env, check=True, capture_output=True, text=True
    )
    key = json.loads(made.stdout)["key"]
    print(f"{asked.clients} clients, {MOST} tasks a batch")
    print("| tasks | a second | by COPY | ratio | spread |")
    print("| --- | --- | --- | --- | --- |")
    with serving.gunicorn(place / "web.log", told) as served:
        for name, kind in KINDS.items():
            pairs = [
                _pair(served.url, key, database, kind, asked) for _ in range(asked.rounds + 1)
            ][1:]
            ratios = sorted(ours / bare for ours, bare in pairs)
            median = statistics.median(ratios)
            ours, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
            spread = (ratios[-1] - ratios[0]) / median
            print(f"| {name} | {ours:.0f} | {bare:.0f} | {median:.2f} | {spread:.0%} |", flush=True)


def _pair(
    url: str, key: str, database: str, kind: str, asked: argparse.Namespace
) -> tuple[float, float]:
    """Tasks a second by batches and by COPY, one after the other."""
    traces = [[str(uuid4()) for _ in range(asked.batches)] for _ in range(asked.clients)]
    with ExitStack() as open_:
        senders = []
        for mine in traces:
            headers = {"Authorization": f"Bearer {key}"}
            client = open_.enter_context(httpx2.Client(base_url=url, headers=headers, timeout=60))
            senders.append(_sender(client, kind, mine))
        ours = _per_second(senders, asked.batches)
        copiers = [_copier(open_, database, mine) for mine in traces]
        return ours, _per_second(copiers, asked.batches)


def _sender(client: httpx2.Client, kind: str, traces: list[str]) -> Any:
    bodies = [(trace, json.dumps({"tasks": _tasks(kind)}).encode()) for trace in traces]

    def send() -> float:
        began = time.perf_counter()
        for trace, body in bodies:
            headers = {"X-Trace-Id": trace, "Content-Type": "application/json"}
            answer = client.post("/tasks/route:batch", content=body, headers=headers)
            results = answer.raise_for_status().json()["results"]
            assert all(each["status"] == 202 for each in results)
        return time.perf_counter() - began

    return send


def _tasks(kind: str) -> list[dict[str, Any]]:
    return [
        {
            "idempotency_key": str(uuid4()),
            "target": "finance",
            "task": {
                "task_type": kind,
                "description": "Refund 42.50 EUR to customer 1007 for a broken kettle.",
                "data": {"amount": "42.50", "currency": "EUR", "customer": number},
            },
        }
        for number in range(MOST)
    ]


def _copier(open_: ExitStack, database: str, traces: list[str]) -> Any:
    connection = open_.enter_context(psycopg.connect(database))

    def send() -> float:
        seconds = 0.0
        for trace in traces:
            tables = _written(connection, trace)  # not sooner: an event is written when it happens
            began = time.perf_counter()
            with connection.transaction():
                for target, rows in tables:
                    with connection.cursor().copy(f"COPY {target} FROM STDIN") as copy:
                        copy.write(rows)
            seconds += time.perf_counter() - began
        return seconds

    return send


def _written(connection: "psycopg.Connection[Any]", trace: str) -> list[tuple[str, bytes]]:
    """The rows of the batch, under new ids, as COPY takes them."""
    written = []
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(FRESH, {"trace": trace})
        for table in ("tasks", "approvals"):
            names = [name for (name,) in cursor.execute(COLUMNS, [table]).fetchall()]
            given = ", ".join(INSTEAD.get(name, f"row.{name}") for name in names)
            rows = f"SELECT {given} FROM {table} AS row JOIN fresh ON fresh.old = row.id"  # noqa: S608
            written.append((f"{table} ({', '.join(names)})", _copied(cursor, rows)))
        written.append(("audit_events (entry)", _copied(cursor, EVENTS)))
    return written


def _copied(cursor: "psycopg.Cursor[Any]", query: str) -> bytes:
    with cursor.copy(f"COPY ({query}) TO STDOUT") as copy:
        return b"".join(bytes(piece) for piece in copy)


def _per_second(workers: list[Any], batches: int) -> float:
    """By the seconds of the slowest of ``workers``, each of which says how long its work took."""
    with ThreadPoolExecutor(len(workers)) as pool:
        running = [pool.submit(worker) for worker in workers]
        slowest: float = max(each.result() for each in running)
    return len(workers) * batches * MOST / slowest


if __name__ == "__main__":
    main()
