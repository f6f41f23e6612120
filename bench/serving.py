"""PostgreSQL with full durability and our server as it is deployed, for as long as a block runs."""

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
from orchestrator.ops.database_roles import Login, establish

ROOT = Path(__file__).parents[1]
START_TIMEOUT = 300


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers, ours or another's; ``pid`` is of its first process."""

    url: str
    pid: int
    processes: Mapping[str, int] = field(default_factory=dict)
    """Processes that it does not work without, by name."""


def exit_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does, with every block that it is in."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


@contextmanager
def run_postgres(folder: Path) -> Iterator[embedded_postgres.Server]:
    """PostgreSQL under ``place``, in which our two roles are what they are in production."""
    exit_on_sigterm()
    server = embedded_postgres.start(folder / "postgres")
    try:
        owner, application = Login.of(server.owner_url), Login.of(server.application_url)
        with psycopg.connect(server.url) as admin:
            establish(admin, owner=owner, application=application)
        yield server
    finally:
        embedded_postgres.stop(folder / "postgres")


def server_environment(folder: Path, server: embedded_postgres.Server) -> dict[str, str]:
    """What our server is told: as deployed, but that nothing is refused for being too much."""
    return {
        "TRIAL": "on",
        "DATA_DIR": str(folder),
        "DATABASE_URL": server.application_url,
        "DATABASE_OWNER_URL": server.owner_url,
        "LOG_FORMAT": "json",
        "RATE_LIMIT_PER_MINUTE": "0",
        "ADDRESS_LIMIT_PER_MINUTE": "0",
        "MAX_WAITERS": "20000",
        "MAX_WAITERS_PER_CALLER": "20000",
        "DJANGO_SETTINGS_MODULE": "orchestrator.settings",
    }


@contextmanager
def run_gunicorn(
    log: Path, environment: Mapping[str, str], *, port: int = 0, checkout: Path = ROOT
) -> Iterator[RunningServer]:
    """Our server, as it is in ``checkout``, with what it is ``told`` by its environment, at any
    port unless one is given."""
    command = [sys.executable, "-m", "gunicorn", "-c", "orchestrator/server/gunicorn.py"]
    port = port or free_port()
    with run_process(
        [*command, "orchestrator.asgi"], log, cwd=checkout, **environment, PORT=str(port)
    ) as pid:
        yield wait_until_ready(RunningServer(f"http://127.0.0.1:{port}", pid), "/health", log)


@contextmanager
def run_process(command: list[str], log: Path, *, cwd: Path, **environment: str) -> Iterator[int]:
    """A process of ``command``, its words in ``log``; it is ended with the block."""
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
    """``served``, once it answers at ``path``. Raises BenchError with the last words in its
    ``log`` where it ends, or stays silent."""
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
    """Whether our child has, without reaping it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
