"""What the MCP gateway costs: ``python -m bench.gateway [--calls 300] [--waiters 1000]``.

Calls that a policy lets pass, through the gateway and to the bare upstream by turns, by the
official client with one session each: the upstream answers at once, after 20 and after 100
milliseconds. Then the memory of a server in which so many calls wait for approval, beside one in
which as many long polls do.
"""

import argparse
import asyncio
import json
import logging
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from bench import serving
from bench.machine import measure_memory

PORT = 8497
WARM_UP = 30
SETTLE_SECONDS = 3
STARTED_AT_ONCE = 200
DELAYS = (0, 20, 100)
"""Milliseconds that the upstream's tool takes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--waiters", type=int, default=1000)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        _measure(Path(folder), options.calls, options.waiters)


def _measure(folder: Path, number: int, waiters: int) -> None:
    upstream_port = serving.free_port()
    upstream = f"http://127.0.0.1:{upstream_port}/mcp"
    command = [sys.executable, "-m", "bench.upstream", str(upstream_port)]
    with (
        serving.run_postgres(folder) as server,
        serving.run_process(command, folder / "upstream", cwd=serving.ROOT, **os.environ),
    ):
        environment = serving.server_environment(folder, server)
        environment |= {"GATEWAY_ALLOWED_NETWORKS": "127.0.0.0/8", "WEB_CONCURRENCY": "1"}
        environment |= {"GATEWAY_HOLD": "5m"}
        os.environ.update(environment)
        key = _set_up(upstream)
        with serving.run_gunicorn(folder / "log", environment, port=PORT):
            asyncio.run(_time_calls(upstream, key, number))
        for way, wait in (("long poll", _wait_by_long_poll), ("MCP call", _wait_by_call)):
            with serving.run_gunicorn(folder / "log", environment, port=PORT) as web:
                asyncio.run(_measure_waiting(way, wait, key, waiters, web.pid))


def _set_up(upstream: str) -> str:
    """An agent, an upstream and a policy; returns the agent's key."""
    import django

    django.setup()
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from approvals_app.policy import operations as policies
    from approvals_app.policy.language import Policy
    from audit_app.base.actors import Actor
    from orchestrator.gateway import operations
    from sessions_app import agents

    by = Actor.system("bench")
    _, key = agents.create_agent("bench", by=by, roles=["bench"])
    operations.create_upstream("bench", by=by, role="bench", agent_roles=[], url=upstream)
    condition = 'data.arguments.text != "wait"'
    when = {"task_type": "mcp.bench.*", "condition": condition}
    policies.create_policy(Policy.parse({"name": "pass", "then": "approve", "when": when}), by=by)
    return key.text


async def _time_calls(upstream: str, key: str, number: int) -> None:
    for mode in ("auto", "legacy"):
        print(f"\nMode of the client: {mode}")
        print(
            "| the tool takes | bare p50 ms | gateway p50 ms | ratio |\n| --- | --- | --- | --- |"
        )
        await _time_mode(mode, upstream, key, number)


async def _time_mode(mode: str, upstream: str, key: str, number: int) -> None:
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async with AsyncExitStack() as stack:
        clients = []
        for url in (upstream, f"http://127.0.0.1:{PORT}/gateway/bench/mcp"):
            http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60)
            await stack.enter_async_context(http)
            transport = streamable_http_client(url, http_client=http)
            clients.append(await stack.enter_async_context(Client(transport, mode=mode)))
        for delay in DELAYS:
            times: tuple[list[float], list[float]] = ([], [])
            for turn in range(WARM_UP + number):
                for client, measured in zip(clients, times, strict=True):
                    began = time.perf_counter()
                    result = await client.call_tool("echo", {"text": "a", "milliseconds": delay})
                    took = time.perf_counter() - began
                    assert not result.is_error, result
                    if turn >= WARM_UP:
                        measured.append(took)
            bare, guarded = (1000 * statistics.median(each) for each in times)
            print(f"| {delay} ms | {bare:.1f} | {guarded:.1f} | {guarded / bare:.2f} |", flush=True)


Wait = Callable[[str, int], Coroutine[Any, Any, None]]


async def _measure_waiting(way: str, wait: Wait, key: str, number: int, pid: int) -> None:
    await wait(key, 0) if number else None
    before = measure_memory(pid)["pss"]
    waiting: list[asyncio.Task[None]] = []
    for start in range(0, number, STARTED_AT_ONCE):
        waiting += [
            asyncio.create_task(wait(key, 1 + start + each))
            for each in range(min(STARTED_AT_ONCE, number - start))
        ]
        await _until_held(len(waiting))
    await asyncio.sleep(SETTLE_SECONDS)
    after = measure_memory(pid)["pss"]
    print(
        f"{way}: {number} wait, {after:.0f} MB, {1000 * (after - before) / max(number, 1):.1f} KB "
        f"each over {before:.0f} MB",
        flush=True,
    )
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def _until_held(number: int) -> None:
    async with httpx2.AsyncClient() as http:
        while True:
            text = (await http.get(f"http://127.0.0.1:{PORT}/metrics")).text
            lines = [line for line in text.splitlines() if line.startswith("orchestrator_waiting")]
            if lines and float(lines[0].rpartition(" ")[2]) >= number:
                return
            await asyncio.sleep(0.2)


async def _wait_by_long_poll(key: str, number: int) -> None:
    """Route a task and wait for it; number 0 only routes, to warm up."""
    task = {"task_type": "mcp.bench.echo", "data": {"arguments": {"text": "wait", "n": number}}}
    headers = {"Idempotency-Key": str(uuid4())}
    status, body = await _send(
        "POST", "/tasks/route", key, {"target": "bench", "task": task}, headers
    )
    assert status == 202, body
    if number:
        await _send(
            "GET", f"/tasks/{json.loads(body)['task_id']}", key, None, {"Prefer": "wait=60"}
        )


async def _wait_by_call(key: str, number: int) -> None:
    """Call a tool that waits for approval; number 0 calls one that passes, to warm up."""
    text = "wait" if number else "pass"
    params: dict[str, Any] = {
        "name": "echo",
        "arguments": {"text": text, "milliseconds": float(number) / 1000},
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-06-18",
    }
    status, body = await _send("POST", "/gateway/bench/mcp", key, message, headers)
    assert status == 200, body


async def _send(
    method: str, path: str, key: str, body: Any, headers: dict[str, str]
) -> tuple[int, bytes]:
    """One request on a connection of its own, without the weight of a client."""
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    content = b"" if body is None else json.dumps(body).encode()
    lines = {"Host": "127.0.0.1", "Authorization": f"Bearer {key}", "Connection": "close"}
    lines |= {"Content-Type": "application/json", "Content-Length": str(len(content))} | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    try:
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
        answer = await reader.read()
        first, _, rest = answer.partition(b"\r\n\r\n")
        return int(first.split(b" ", 2)[1]), rest
    finally:
        writer.close()


if __name__ == "__main__":
    main()
