"""Other products, and what one would write without any, each beside us in the same run."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg import sql

from bench.clients import Request
from bench.errors import BenchError
from bench.harness import Prepare
from bench.serving import ROOT, RunningServer
from orchestrator.ops.embedded_postgres import Server

PEERS_FOLDER = ROOT / ".data" / "bench-peers"
INSTALL_TIMEOUT = 600


@dataclass(frozen=True, slots=True)
class Case:
    """What the peer does where we do ``ours``, the name of one of our operations."""

    ours: str
    request: Request
    note: str
    """In which way it is the same, and in which it is not."""

    prepare: Prepare | None = None


class Peer(Protocol):
    """One product. What it raises is BenchError: then it is left out, and the reason is said."""

    name: str
    on_postgres: bool
    """Whether it keeps its data in the database that it is given."""

    def install(self) -> None:
        """Make it ready to be started, in a place of its own under INSTALLED."""

    def serve(
        self, folder: Path, database_url: str, log: Path
    ) -> AbstractContextManager[RunningServer]:
        """The product as it is deployed, on a PostgreSQL database of its own."""

    def cases(self, server: RunningServer, admin: "psycopg.Connection[Any]") -> Iterator[Case]:
        """What is compared; ``admin`` is a superuser's connection to its database."""


def create_venv(name: str, *requirements: str) -> Path:
    """The Python of an environment with exactly these; made once. Raises BenchError."""
    folder = PEERS_FOLDER / name
    stamp, wanted = folder / "requirements.txt", "\n".join(requirements) + "\n"
    python = folder / "bin" / "python"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"Installing {', '.join(requirements)} …", file=sys.stderr, flush=True)
    run_program([sys.executable, "-m", "venv", "--clear", str(folder)])
    run_program([str(python), "-m", "pip", "install", "--quiet", *requirements])
    stamp.write_text(wanted)
    return python


def run_program(
    command: list[str], *, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> None:
    """Run a program to its end. Raises BenchError with its last words where it fails."""
    try:
        process = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{command[0]} did not get through: {error}") from error
    if process.returncode:
        lines = (process.stderr.strip() or process.stdout.strip() or "it said nothing").splitlines()
        raise BenchError(f"{Path(command[0]).name} failed: {lines[-1]}")


def create_database(server: Server, name: str) -> str:
    """The URL of a new database beside ours, with the settings of the same PostgreSQL."""
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"{server.url.rpartition('/')[0]}/{name}"
