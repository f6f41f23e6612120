"""Tasks routed per second in batches: ``python -m bench.batch [--rounds 7] [--clients 1]``.

Compares ``POST /tasks/route:batch`` with 500 tasks, served by gunicorn, with a bare COPY of the
same rows, taking turns: each task, its approval where it needs one, and their events, in one
transaction, into the same tables with the same triggers and durability. The rows are exported
before the clock starts, so that the COPY only has to send them.
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

BATCH_SIZE = 500
TASK_TYPES = {"that ask for nobody": "notification", "that ask for one yes": "refund_approval"}
FRESH_IDS_SQL = """
CREATE TEMP TABLE fresh ON COMMIT DROP AS
    SELECT id AS old, gen_random_uuid() AS id, clock_timestamp() AS at FROM (
        SELECT id FROM tasks WHERE trace_id = %(trace)s
        UNION ALL SELECT id FROM approvals WHERE trace_id = %(trace)s) AS made
"""
REPLACED_COLUMNS = {
    "id": "fresh.id",
    "created_at": "fresh.at",
    "updated_at": "fresh.at",
    "idempotency_key": "gen_random_uuid()::text",
    "task_id": "(SELECT id FROM fresh WHERE old = task_id)",
}
COLUMNS_SQL = """
SELECT column_name FROM information_schema.columns
WHERE table_name = %s AND table_schema = 'public' AND is_generated = 'NEVER'
"""
EVENTS_SQL = """
SELECT audit_entry(event_type, actor, actor_id, subject_type, fresh.id, seq, from_state, to_state,
    role, trace_id, (entry::json -> 'metadata')::text, gen_random_uuid(), fresh.at)
FROM audit_events JOIN fresh ON fresh.old = subject_id
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=4, help="a round and a client")
    parser.add_argument("--clients", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as temporary:
        folder = Path(temporary)
        with serving.run_postgres(folder) as server:
            _measure(server.url, serving.server_environment(folder, server), folder, options)


def _measure(
    database: str, environment: dict[str, str], folder: Path, options: argparse.Namespace
) -> None:
    env = os.environ | environment
    manage = [sys.executable, "manage.py"]
    subprocess.run([*manage, "migrate", "-v0"], cwd=serving.ROOT, env=env, check=True)
    reviewer = [*manage, "create_reviewer", "alice", "--role", "finance", "--format", "json"]
    subprocess.run(reviewer, cwd=serving.ROOT, env=env, check=True, capture_output=True)
    create = [*manage, "create_agent", "bench", "--role", "bench", "--format", "json"]
    created = subprocess.run(
        create, cwd=serving.ROOT, env=env, check=True, capture_output=True, text=True
    )
    key = json.loads(created.stdout)["key"]
    print(f"{options.clients} clients, {BATCH_SIZE} tasks a batch")
    print("| tasks | a second | by COPY | ratio | spread |")
    print("| --- | --- | --- | --- | --- |")
    with serving.run_gunicorn(folder / "web.log", environment) as web:
        for name, task_type in TASK_TYPES.items():
            pairs = [
                _measure_pair(web.url, key, database, task_type, options)
                for _ in range(options.rounds + 1)
            ][1:]
            ratios = sorted(ours / bare for ours, bare in pairs)
            median = statistics.median(ratios)
            ours, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
            spread = (ratios[-1] - ratios[0]) / median
            print(f"| {name} | {ours:.0f} | {bare:.0f} | {median:.2f} | {spread:.0%} |", flush=True)


def _measure_pair(
    url: str, key: str, database: str, task_type: str, options: argparse.Namespace
) -> tuple[float, float]:
    """Tasks per second by batches and then by COPY."""
    traces = [[str(uuid4()) for _ in range(options.batches)] for _ in range(options.clients)]
    with ExitStack() as stack:
        senders = []
        for own_traces in traces:
            headers = {"Authorization": f"Bearer {key}"}
            client = stack.enter_context(httpx2.Client(base_url=url, headers=headers, timeout=60))
            senders.append(_make_sender(client, task_type, own_traces))
        ours = _tasks_per_second(senders, options.batches)
        copiers = [_make_copier(stack, database, own_traces) for own_traces in traces]
        return ours, _tasks_per_second(copiers, options.batches)


def _make_sender(client: httpx2.Client, task_type: str, traces: list[str]) -> Any:
    bodies = [(trace, json.dumps({"tasks": _make_tasks(task_type)}).encode()) for trace in traces]

    def send() -> float:
        start = time.perf_counter()
        for trace, body in bodies:
            headers = {"X-Trace-Id": trace, "Content-Type": "application/json"}
            response = client.post("/tasks/route:batch", content=body, headers=headers)
            results = response.raise_for_status().json()["results"]
            assert all(each["status"] == 202 for each in results)
        return time.perf_counter() - start

    return send


def _make_tasks(task_type: str) -> list[dict[str, Any]]:
    return [
        {
            "idempotency_key": str(uuid4()),
            "target": "finance",
            "task": {
                "task_type": task_type,
                "description": "Refund 42.50 EUR to customer 1007 for a broken kettle.",
                "data": {"amount": "42.50", "currency": "EUR", "customer": number},
            },
        }
        for number in range(BATCH_SIZE)
    ]


def _make_copier(stack: ExitStack, database: str, traces: list[str]) -> Any:
    connection = stack.enter_context(psycopg.connect(database))

    def send() -> float:
        seconds = 0.0
        for trace in traces:
            tables = _export_rows(connection, trace)  # an event carries the time it is written
            start = time.perf_counter()
            with connection.transaction():
                for target, rows in tables:
                    with connection.cursor().copy(f"COPY {target} FROM STDIN") as copy:
                        copy.write(rows)
            seconds += time.perf_counter() - start
        return seconds

    return send


def _export_rows(connection: "psycopg.Connection[Any]", trace: str) -> list[tuple[str, bytes]]:
    """The rows of the batch under new ids, in COPY's format, by table and columns."""
    exported = []
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(FRESH_IDS_SQL, {"trace": trace})
        for table in ("tasks", "approvals"):
            names = [name for (name,) in cursor.execute(COLUMNS_SQL, [table]).fetchall()]
            expressions = ", ".join(REPLACED_COLUMNS.get(name, f"row.{name}") for name in names)
            rows = f"SELECT {expressions} FROM {table} AS row JOIN fresh ON fresh.old = row.id"  # noqa: S608
            exported.append((f"{table} ({', '.join(names)})", _copy_out(cursor, rows)))
        exported.append(("audit_events (entry)", _copy_out(cursor, EVENTS_SQL)))
    return exported


def _copy_out(cursor: "psycopg.Cursor[Any]", query: str) -> bytes:
    with cursor.copy(f"COPY ({query}) TO STDOUT") as copy:
        return b"".join(bytes(piece) for piece in copy)


def _tasks_per_second(workers: list[Any], batches: int) -> float:
    """Run ``workers`` in parallel; the slowest one's seconds are the divisor."""
    with ThreadPoolExecutor(len(workers)) as pool:
        running = [pool.submit(worker) for worker in workers]
        slowest: float = max(each.result() for each in running)
    return len(workers) * batches * BATCH_SIZE / slowest


if __name__ == "__main__":
    main()
