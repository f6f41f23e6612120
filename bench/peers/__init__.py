"""The peers: other products, and plain implementations, measured beside ours in the same run."""

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
    """A peer's request that corresponds to our operation of the name ``ours``."""

    ours: str
    request: Request
    note: str
    """How it is the same, and how it differs."""

    prepare: Prepare | None = None


class Peer(Protocol):
    """One product. Its methods raise BenchError: then it is left out, and the reason is printed."""

    name: str
    on_postgres: bool
    """Whether it stores its data in the given PostgreSQL database."""

    def install(self) -> None:
        """Install it, in a folder of its own under PEERS_FOLDER."""

    def serve(
        self, folder: Path, database_url: str, log: Path
    ) -> AbstractContextManager[RunningServer]:
        """Run the product as it is deployed, on a PostgreSQL database of its own."""

    def cases(self, server: RunningServer, admin: "psycopg.Connection[Any]") -> Iterator[Case]:
        """The requests to compare; ``admin`` is a superuser's connection to its database."""


def create_venv(name: str, *requirements: str) -> Path:
    """The Python of a virtual environment with exactly ``requirements``, created once.

    Raises BenchError.
    """
    folder = PEERS_FOLDER / name
    stamp, wanted = folder / "requirements.txt", "\n".join(requirements) + "\n"
    python = folder / "bin" / "python"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"Installing {', '.join(requirements)} …", file=sys.stderr, flush=True)
    run_program([sys.executable, "-m", "venv", "--clear", str(folder)])
    run_program([str(python), "-m", "pip", "install", "--quiet", *requirements])
    # Written last, so that an interrupted installation is repeated.
    stamp.write_text(wanted)
    return python


def run_program(
    command: list[str], *, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> None:
    """Run a program to its end. Raises BenchError with its last line of output where it fails."""
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
        lines = (process.stderr.strip() or process.stdout.strip() or "no output").splitlines()
        raise BenchError(f"{Path(command[0]).name} failed: {lines[-1]}")


def create_database(server: Server, name: str) -> str:
    """Create a database beside ours, on the same PostgreSQL; return its URL."""
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"{server.url.rpartition('/')[0]}/{name}"
