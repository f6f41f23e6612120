"""Runs PostgreSQL with full durability and our server as it is deployed, until a block ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psycopg

from bench.errors import BenchError
from orchestrator.ops import embedded_postgres
from orchestrator.ops.database_roles import Login, create_roles

ROOT = Path(__file__).parents[1]
START_TIMEOUT = 300


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that accepts requests, ours or another's; ``pid`` is its first process."""

    url: str
    pid: int
    processes: Mapping[str, int] = field(default_factory=dict)
    """Further processes that it needs, by name."""


def exit_on_sigterm() -> None:
    """Make SIGTERM raise SystemExit, so that every block ends what it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


@contextmanager
def run_postgres(folder: Path) -> Iterator[embedded_postgres.Server]:
    """Run PostgreSQL under ``folder``, with our two roles set up as in production."""
    exit_on_sigterm()
    server = embedded_postgres.start(folder / "postgres")
    try:
        owner, application = Login.of(server.owner_url), Login.of(server.application_url)
        with psycopg.connect(server.url) as admin:
            create_roles(admin, owner=owner, application=application)
        yield server
    finally:
        embedded_postgres.stop(folder / "postgres")


def server_environment(folder: Path, server: embedded_postgres.Server) -> dict[str, str]:
    """The environment of our server: as deployed, but without rate limits."""
    return {
        "TRIAL": "on",
        "DATA_DIR": str(folder),
        "DATABASE_URL": server.application_url,
        "DATABASE_OWNER_URL": server.owner_url,
        "LOG_FORMAT": "json",
        "RATE_LIMIT_PER_MINUTE": "0",
        "ADDRESS_LIMIT_PER_MINUTE": "0",
        # Else the login page at 127.0.0.1 would lead to localhost.
        "PASSKEY_ORIGINS": "https://bench.example",
        "MAX_WAITERS": "20000",
        "MAX_WAITERS_PER_CALLER": "20000",
        "DJANGO_SETTINGS_MODULE": "orchestrator.settings",
    }


@contextmanager
def run_gunicorn(
    log: Path, environment: Mapping[str, str], *, port: int = 0, checkout: Path = ROOT
) -> Iterator[RunningServer]:
    """Run our server as it is in ``checkout``, with ``environment``, on a free port unless one is
    given."""
    command = [sys.executable, "-m", "gunicorn", "-c", "orchestrator/server/gunicorn.py"]
    port = port or free_port()
    with run_process(
        [*command, "orchestrator.asgi"], log, cwd=checkout, **environment, PORT=str(port)
    ) as pid:
        yield wait_until_ready(RunningServer(f"http://127.0.0.1:{port}", pid), "/health", log)


@contextmanager
def run_process(command: list[str], log: Path, *, cwd: Path, **environment: str) -> Iterator[int]:
    """Run ``command`` with its output in ``log``; terminate it when the block ends."""
    with log.open("a") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **environment}, stdout=output, stderr=output
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(
    server: RunningServer, path: str, log: Path, *, status: int = 200
) -> RunningServer:
    """Wait until ``server`` answers ``path`` with ``status``; return it.

    Raises BenchError with the end of its ``log`` where it exits or never does.
    """
    deadline = time.monotonic() + START_TIMEOUT
    outcome: object = None
    while time.monotonic() < deadline and not _has_ended(server.pid):
        try:
            outcome = httpx2.get(server.url + path, timeout=START_TIMEOUT).status_code
        except httpx2.TransportError as error:
            outcome = error
        if outcome == status:
            return server
        time.sleep(0.1)
    log_tail = " ".join(log.read_text(errors="replace").split()[-60:])
    raise BenchError(f"{server.url}{path} should answer {status}, but: {outcome}. {log_tail}")


def _has_ended(pid: int) -> bool:
    # WNOWAIT leaves the child to be reaped by run_process.
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
