"""Run the benchmarks: ``make bench``."""

import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from orchestrator import embedded_postgres

ROOT = Path(__file__).parents[1]
RESULTS = Path(os.environ.get("BENCH_RESULTS", ROOT / "bench" / "results"))
CLIENTS = 4
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
PAIRS = int(os.environ.get("BENCH_PAIRS", "5"))
NOISY = 0.25
"""Spread of the ratios, relative to their median, above which a run gives no figure."""

Work = Callable[[], None]
TASK = {"target": "finance", "task": {"task_type": "refund_approval", "data": {"amount": "42.50"}}}


def per_second(workers: list[Work]) -> float:
    """How often the workers, each in a thread of its own, get through in SECONDS."""
    done = [0] * len(workers)
    end = time.perf_counter() + SECONDS

    def loop(number: int, work: Work) -> None:
        while time.perf_counter() < end:
            work()
            done[number] += 1

    threads = [threading.Thread(target=loop, args=given) for given in enumerate(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / SECONDS


@contextmanager
def serving(env: dict[str, str]) -> Iterator[str]:
    """gunicorn as it is deployed; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "gunicorn", "-c", "orchestrator/gunicorn.py"]
    with (Path(env["DATA_DIR"]) / "web.log").open("w") as log:
        web = subprocess.Popen(
            [*command, "orchestrator.asgi"],
            cwd=ROOT,
            env=env | {"PORT": url.rpartition(":")[2]},
            stdout=log,
            stderr=log,
        )
    try:
        transport = httpx.HTTPTransport(retries=8)
        with httpx.Client(transport=transport) as client:
            client.get(f"{url}/health").raise_for_status()
        yield url
    finally:
        web.terminate()
        web.wait()


def statements(
    url: str, statement: str, parameters: Callable[[], Any], open_: ExitStack
) -> list[Work]:
    """One statement and its commit, on a connection of each worker's own."""

    def worker() -> Work:
        connection = open_.enter_context(psycopg.connect(url, autocommit=True))

        def send() -> None:
            connection.execute(statement, parameters())

        return send

    return [worker() for _ in range(CLIENTS)]


def requests(url: str, key: str, method: str, path: str, body: Any, open_: ExitStack) -> list[Work]:
    """One request, on a connection of each worker's own; any answer but a success ends the run."""

    def worker() -> Work:
        headers = {"Authorization": f"Bearer {key}"}
        client = open_.enter_context(httpx.Client(base_url=url, headers=headers))

        def send() -> None:
            once = {"Idempotency-Key": str(uuid4())} if body else {}
            client.request(method, path, json=body, headers=once).raise_for_status()

        return send

    return [worker() for _ in range(CLIENTS)]


def measure(name: str, ours: list[Work], limit: list[Work]) -> dict[str, Any]:
    """Pairs of runs, side by side; the median of their ratios and its spread."""
    pairs = [(per_second(ours), per_second(limit)) for _ in range(PAIRS)]
    ratios = sorted(mine / theirs for mine, theirs in pairs)
    median = statistics.median(ratios)
    spread = (ratios[-1] - ratios[0]) / median
    return {
        "name": name,
        "requests_per_second": round(statistics.median(mine for mine, _ in pairs)),
        "limit_per_second": round(statistics.median(theirs for _, theirs in pairs)),
        "ratio": round(median, 3),
        "spread": round(spread, 2),
        "noisy": spread > NOISY,
    }


def run(place: Path) -> list[dict[str, Any]]:
    server = embedded_postgres.start(place / "postgres")
    env = {**os.environ, "DATABASE_URL": server.url, "TRIAL": "on", "DATA_DIR": str(place)}
    env["RATE_LIMIT_PER_MINUTE"] = "0"
    manage = [sys.executable, "manage.py"]
    subprocess.run([*manage, "migrate", "-v0"], cwd=ROOT, env=env, check=True)
    made = subprocess.run(
        [*manage, "create_agent", "bench", "--role", "bench", "--format", "json"],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    key = json.loads(made.stdout)["key"]
    with serving(env) as url, ExitStack() as open_, psycopg.connect(server.url) as setup:
        setup.execute("CREATE TABLE bare (id uuid PRIMARY KEY, body jsonb)")
        known = uuid4()
        setup.execute("INSERT INTO bare VALUES (%s, %s)", [known, json.dumps(TASK)])
        setup.commit()
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) as client:
            routed = client.post("/tasks/route", json=TASK, headers={"Idempotency-Key": "first"})
            task = routed.raise_for_status().json()["task_id"]
        insert = statements(
            server.url,
            "INSERT INTO bare VALUES (%s, %s)",
            lambda: [uuid4(), json.dumps(TASK)],
            open_,
        )
        select = statements(server.url, "SELECT * FROM bare WHERE id = %s", lambda: [known], open_)
        opened = {"agent_role": "bench"}
        cases = (
            ("POST /sessions", "POST", "/sessions", opened, insert),
            ("POST /tasks/route", "POST", "/tasks/route", TASK, insert),
            ("GET /tasks/{id}", "GET", f"/tasks/{task}", None, select),
            ("GET /tasks (20)", "GET", "/tasks", None, select),
        )
        return [
            measure(name, requests(url, key, method, path, body, open_), limit)
            for name, method, path, body, limit in cases
        ]


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| request | per second | bare statement | ratio | spread |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in results:
        ratio = "too noisy" if one["noisy"] else f"{one['ratio']:.3f}"
        lines.append(
            f"| `{one['name']}` | {one['requests_per_second']} | {one['limit_per_second']} "
            f"| {ratio} | {one['spread']:.0%} |"
        )
    return "\n".join(lines)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as temporary:
        place = Path(temporary)
        try:
            results = run(place)
        finally:
            embedded_postgres.stop(place / "postgres")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    kept = {
        "at": at,
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "clients": CLIENTS,
        "seconds": SECONDS,
        "results": results,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{at.replace(':', '')}.json"
    path.write_text(json.dumps(kept, indent=2) + "\n")
    print(table(results))
    print(f"\nWritten to {path}.")


if __name__ == "__main__":
    main()
