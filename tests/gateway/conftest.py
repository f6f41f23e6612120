"""The gateway as operators run it, in front of servers that are programs of their own."""

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from django.conf import settings
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from orchestrator.gateway import operations
from tests.factories import OPS
from tests.serving import ROOT, client_of, free_port, gunicorn, on_the_tests_database

UPSTREAM = [sys.executable, "-m", "tests.gateway.upstream"]


def environment() -> dict[str, str]:
    """Settings of a gateway that reaches the tests' servers and reads the secrets they keep."""
    return {
        "GATEWAY_ALLOWED_NETWORKS": "127.0.0.0/8",
        "GATEWAY_HOLD": "20s",
        "SECRET_KEY": settings.SECRET_KEY,
    }


class Notebook:
    """The tests' own upstream: where it is, and what its tools did."""

    def __init__(self, place: Path) -> None:
        self.place, self.file, self.port = place, place / "done", free_port()
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.environment = {"DONE": str(self.file), "PATH": os.environ["PATH"], "PYTHONPATH": "."}

    @property
    def calls_made(self) -> list[dict[str, Any]]:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [json.loads(line) for line in lines]

    def forget(self) -> None:
        self.file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """It runs, over HTTP."""
    notebook = Notebook(tmp_path_factory.mktemp("notebook"))
    with (notebook.place / "log").open("w") as log:
        server = subprocess.Popen(
            [*UPSTREAM, str(notebook.port)],
            cwd=ROOT,
            env=os.environ | notebook.environment,
            stdout=log,
            stderr=log,
        )
    with client_of(notebook.port) as client:
        client.get("/")
    yield notebook
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def port(django_db_setup, django_db_blocker, tmp_path_factory):
    place = tmp_path_factory.mktemp("gateway")
    port = free_port()
    with django_db_blocker.unblock():
        env = on_the_tests_database(port, DATA_DIR=str(place), **environment())
    with gunicorn(place / "log", env):
        with client_of(port) as client:
            assert client.get("/status").status_code == 200
        yield port


@pytest.fixture
def private_network(settings):
    settings.GATEWAY_ALLOWED_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def upstream(private_network, notebook):
    """The notebook behind the gateway, where finance is asked."""
    notebook.forget()
    return operations.create_upstream(
        "notebook", by=OPS, role="finance", agent_roles=[], url=notebook.url
    )


class Caller:
    """An agent's model: each call is a connection of its own."""

    def __init__(self, connect: Any) -> None:
        self.connect = connect

    def __call__(
        self, tool: str, /, *, tell: Any = None, meta: Any = None, **arguments: Any
    ) -> Any:
        return self.run(
            lambda client: client.call_tool(tool, arguments, progress_callback=tell, meta=meta)
        )

    def run(self, work: Any) -> Any:
        async def connect_and_work() -> Any:
            async with self.connect() as client:
                return await work(client)

        return anyio.run(connect_and_work)


def over_http(port: int, key: str, name: str = "notebook", mode: str = "auto") -> Caller:
    @asynccontextmanager
    async def connect() -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            url = f"http://127.0.0.1:{port}/gateway/{name}/mcp"
            transport = streamable_http_client(url, http_client=http)
            async with Client(transport, mode=mode) as client:
                yield client

    return Caller(connect)


def over_stdio(key: str, name: str = "notebook", **further: str) -> Caller:
    @asynccontextmanager
    async def connect() -> Any:
        parameters = StdioServerParameters(
            command=sys.executable,
            args=["manage.py", "mcp_gateway", name],
            cwd=ROOT,
            env=on_the_tests_database(0, ORCHESTRATOR_KEY=key, **environment(), **further),
        )
        async with Client(parameters) as client:
            yield client

    return Caller(connect)


@pytest.fixture(params=["http", "http of 2025", "stdio"])
def calling(request, port):
    """``calling(agent)``: the upstream's tools through the gateway, over each transport."""
    if request.param == "stdio":
        return lambda agent, name="notebook": over_stdio(agent.key, name)
    mode = "legacy" if "2025" in request.param else "auto"
    return lambda agent, name="notebook": over_http(port, agent.key, name, mode)


@pytest.fixture
def bots(port, bot, upstream):
    """The notebook's tools as bot calls them over HTTP."""
    return over_http(port, bot.key)
