"""The time until a waiter learns of a decision: ``python -m bench.waiting [--waiters 1 1000]``.

So many requests wait, each for its own task, on one process of the server, by long-poll or stream.
Then some of the approvals are decided, at most ten a second, by the operation in another process.
The time runs from the return of the commit to the last byte of the waiter's response, on one clock.
For comparison: one client that polls once a second, and one caller of Restate whose handler waits
for an awakeable, timed from the response to whoever resolves it.
"""

import argparse
import asyncio
import logging
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench import serving
from bench.errors import BenchError
from bench.machine import measure_memory
from bench.peers.stock_restate import Restate

PORT = 8479
POLLING = "poll of 1 s"
RESTATE = "Restate"
MAX_DECISIONS = 300
PAUSE = 0.1
"""Seconds between two decisions: half a minute in all, in which waiters come and go."""

STARTED_AT_ONCE = 1000
"""Waiters that start at once: the kernel queues at most 4096 connections for a server to accept."""

RETRYING_SHARE = 0.05
refused_tasks: list[str] = []
"""Tasks whose waiters got a refusal or lost their connection, and retried."""
SINGLE_ROUNDS = 100
"""Decisions measured one at a time, with a single waiter."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiters", type=int, nargs="+", default=[1, 1000])
    parser.add_argument("--ways", nargs="+", default=[POLLING, "long-poll", "stream", RESTATE])
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        _measure(Path(folder), options.waiters, options.ways)


def _measure(folder: Path, waiters: list[int], ways: list[str]) -> None:
    print("| waiters | way | p50 ms | p99 ms | most ms | memory of the server, MB |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    if RESTATE in ways:
        _measure_restate(folder)
    with serving.run_postgres(folder) as server:
        environment = serving.server_environment(folder, server)
        os.environ.update(environment)
        import django

        django.setup()
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        with serving.run_gunicorn(folder / "log", environment, port=PORT) as web:
            for way in ways:
                if way == RESTATE:
                    continue
                for number in waiters if way != POLLING else [1]:
                    _print_row(number, way, asyncio.run(_measure_way(number, way)), web.pid)
                    if refused_tasks:
                        print(f"Refused and retried: {len(refused_tasks)}.", flush=True)
                        refused_tasks.clear()


def _measure_restate(folder: Path) -> None:
    peer = Restate()
    try:
        peer.install()
        with peer.serve(folder, "", folder / "restate.log") as server:
            times = [peer.time_decision(server, number) for number in range(SINGLE_ROUNDS)]
            _print_row(1, RESTATE, times, server.pid)
    except BenchError as error:
        print(f"Not measured: {error}", file=sys.stderr)


def _print_row(number: int, way: str, measured: list[float], pid: int) -> None:
    times = sorted(measured)
    p50, p99 = statistics.median(times), times[min(len(times) - 1, int(len(times) * 0.99))]
    columns = " | ".join(f"{1000 * value:.1f}" for value in (p50, p99, times[-1]))
    print(f"| {number} | {way} | {columns} | {measure_memory(pid)['pss']:.0f} |", flush=True)


async def _measure_way(number: int, way: str) -> list[float]:
    """Seconds from each of DECIDED decisions to its waiter."""
    decisions = min(number, MAX_DECISIONS) if way != POLLING else 10
    rounds = SINGLE_ROUNDS if number == 1 and way != POLLING else 1
    times: list[float] = []
    for _ in range(rounds):
        work = await asyncio.to_thread(_create_tasks, max(number, decisions))
        if way == POLLING:
            for task, approval in work["tasks"]:
                times.append(await _poll_for_decision(work, task, approval))
            continue
        waiters: list[asyncio.Task[float]] = []
        for start in range(0, number, STARTED_AT_ONCE):
            tasks = work["tasks"][start : start + STARTED_AT_ONCE]
            waiters += [
                asyncio.create_task(_wait_for_decision(way, work["key"], task)) for task, _ in tasks
            ]
            await asyncio.to_thread(_wait_until_held, work["key"], len(waiters))
        step = max(1, number // decisions)
        for index in range(0, step * decisions, step):
            committed_at = await asyncio.to_thread(_decide, work["person"], work["tasks"][index][1])
            times.append(await waiters[index] - committed_at)
            await asyncio.sleep(PAUSE)
        for wait in waiters:
            wait.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        await asyncio.to_thread(_wait_until_held, work["key"], 0)
    return times


async def _wait_for_decision(way: str, key: str, task: str) -> float:
    """The time at which one waiter has its whole response, on the monotonic clock."""
    path = f"/tasks/{task}" if way == "long-poll" else f"/events?task_id={task}"
    seconds = 20 + int(task[:8], 16) % 41  # spread out, as waiters that started at different times
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        try:
            head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
            writer.write(f"{head}Prefer: wait={seconds}\r\n\r\n".encode())
            seconds = 60
            body = b"awaiting_approval"
            if b" 200 " not in await reader.readline():
                refused_tasks.append(task)
                continue
            if way == "long-poll":
                headers = await reader.readuntil(b"\r\n\r\n")
                length = int(headers.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                if b'"status":"awaiting_approval"' in body:
                    continue  # the wait ended without a decision
            else:
                while b"event: task.approved" not in body:
                    body = await reader.readline()
            return time.monotonic()
        except (ConnectionError, asyncio.IncompleteReadError):
            refused_tasks.append(task)
        finally:
            writer.close()


async def _poll_for_decision(work: dict, task: str, approval: object) -> float:  # type: ignore[type-arg]
    import httpx2

    async with httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{PORT}", headers={"Authorization": f"Bearer {work['key']}"}
    ) as client:
        await asyncio.sleep(time.monotonic() % 1)
        decision = asyncio.create_task(asyncio.to_thread(_decide, work["person"], approval))
        while (await client.get(f"/tasks/{task}")).json()["status"] == "awaiting_approval":
            await asyncio.sleep(1)
        return time.monotonic() - await decision


def _create_tasks(number: int) -> dict:  # type: ignore[type-arg]
    """Create an agent with ``number`` pending tasks, and a person who can decide on them."""
    from uuid import uuid4

    from django.contrib.auth.models import Group, User

    from audit_app.base.actors import Actor
    from sessions_app import agents
    from sessions_app.tasks.routing import NewTask, route_task

    by = Actor.system("bench")
    agent, key = agents.create_agent(f"agent {uuid4()}", by=by, roles=["asks"])
    person = User.objects.create(username=str(uuid4()), is_staff=True)
    person.groups.add(Group.objects.get_or_create(name="decides")[0])
    tasks = []
    for count in range(number):
        task = route_task(
            NewTask(
                to_role="decides",
                task_type="bench_approval",
                data={"n": count},
                idempotency_key=str(uuid4()),
            ),
            by=agent.as_actor(),
            trace_id=uuid4(),
        )
        tasks.append((str(task.pk), task.approvals.get()))
    return {"key": key.text, "person": person, "tasks": tasks}


def _decide(person: object, approval: object) -> float:
    """Approve; return the time after the commit, on the monotonic clock."""
    from approvals_app.decisions import operations
    from audit_app.base.actors import Actor

    operations.approve(
        approval.pk,  # type: ignore[attr-defined]
        by=Actor.human(person),  # type: ignore[arg-type]
        payload_digest=approval.payload_digest,  # type: ignore[attr-defined]
    )
    return time.monotonic()


def _wait_until_held(key: str, number: int) -> None:
    """Wait until ``number`` requests are held, give or take RETRYING_SHARE."""
    # Some are always between two requests: of 10,000 long-polls of a minute, 167 each second.
    import httpx2

    while True:
        metrics = httpx2.get(f"http://127.0.0.1:{PORT}/metrics", timeout=600).text
        held = float(metrics.split("\norchestrator_waiting_requests ")[1].split("\n")[0])
        if abs(held - number) <= number * RETRYING_SHARE:
            return
        time.sleep(0.1)


if __name__ == "__main__":
    main()
