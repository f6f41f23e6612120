"""gunicorn as in production, in front of a PostgreSQL that the test may stop.

State of a whole run: the collected static files, and the data directories that each test's
PostgreSQL is copied from. Each test has its own PostgreSQL, pooler and server.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from django.conf import settings

from orchestrator.ops import embedded_postgres
from orchestrator.ops.database_roles import Login
from tests.clusters import start_cluster
from tests.database import database_url, hold_lock
from tests.serving import ROOT, client_of, free_port, gunicorn

MANAGE = [sys.executable, "manage.py"]
PRODUCTION = {
    "PATH": os.environ["PATH"],
    "SECRET_KEY": "s" * 64,
    "ALLOWED_HOSTS": "orchestrator.example",
}
HTTPS = {"Host": "orchestrator.example", "X-Forwarded-Proto": "https"}


@dataclass
class Database:
    """A server that keeps its port, and the address by which the application reaches it."""

    place: Path
    server: embedded_postgres.Server
    url: str

    def start(self) -> None:
        embedded_postgres.start(self.place)

    def stop(self) -> None:
        embedded_postgres.stop(self.place)

    def manage(self, *args: str) -> str:
        environment = os.environ | {
            "DATABASE_URL": self.url,
            "DATABASE_OWNER_URL": self.server.owner_url,
        }
        done = subprocess.run(
            [*MANAGE, *args], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout


@pytest.fixture
def with_tables() -> bool:
    """Whether a database of a test's own has its tables from the beginning."""
    return True


@pytest.fixture(params=["direct", "pgbouncer"])
def database_of_its_own(request, tmp_path, with_tables) -> Iterator[Database]:
    """Reached directly, and through PgBouncer in transaction mode as deploy/ sets it up."""
    place = tmp_path / "postgres"
    server = start_cluster(place, migrated=with_tables)
    try:
        if request.param == "direct":
            yield Database(place, server, server.application_url)
        elif not shutil.which("pgbouncer"):
            pytest.skip("pgbouncer is not installed")
        else:
            login = Login.of(server.application_url)
            with pgbouncer(server, login, tmp_path / "pooler") as url:
                yield Database(place, server, url)
    finally:
        embedded_postgres.stop(place)


@contextmanager
def pgbouncer(server: embedded_postgres.Server, login: Login, place: Path) -> Iterator[str]:
    port = free_port()
    place.mkdir()
    text = (ROOT / "deploy" / "pgbouncer" / "pgbouncer.ini").read_text()
    for theirs, ours in (
        ("listen_port = 6432", f"listen_port = {port}"),
        ("port=5432", f"port={server.port}"),
        ("/etc/pgbouncer/userlist.txt", str(place / "userlist.txt")),
    ):
        assert theirs in text
        text = text.replace(theirs, ours)
    (place / "pgbouncer.ini").write_text(text)
    (place / "userlist.txt").write_text(f'"{login.name}" "{login.password}"\n')
    who = {}
    if os.geteuid() == 0:  # it refuses to run as root
        who = {"user": "nobody"}
        for path in (place, place / "pgbouncer.ini", place / "userlist.txt"):
            shutil.chown(path, "nobody")
        for folder in (place, *place.parents):
            if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
                folder.chmod(folder.stat().st_mode | 0o011)
    process = subprocess.Popen(
        ["pgbouncer", "--quiet", place / "pgbouncer.ini"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **who,
    )
    try:
        yield (
            urlsplit(server.application_url)
            ._replace(netloc=f"{login.name}:{login.password}@127.0.0.1:{port}")
            .geturl()
        )
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def serving(database: Database, place: Path, **environment: str) -> Iterator[httpx.Client]:
    """A client of the application, which must end cleanly and have left no stack trace."""
    port = free_port()
    _collect_static(place / "data")
    env = PRODUCTION | {
        "DATABASE_URL": database.url,
        "DATABASE_DIRECT_URL": database.server.application_url,
        "DATA_DIR": str(place / "data"),
        "PORT": str(port),
        **environment,
    }
    with gunicorn(place / "log", env), client_of(port, headers=HTTPS, timeout=10) as client:
        # How long a process takes to start says nothing about whether it hangs afterwards.
        assert client.get("/status", timeout=90).status_code == 200
        yield client


def _collect_static(data: Path) -> None:
    """Once a run: whoever serves from ``data`` gets a link to it."""
    collected = Path(settings.DATA_DIR) / "collected"
    with hold_lock("collected"):
        if not collected.exists():
            env = PRODUCTION | {"DATABASE_URL": database_url(), "DATA_DIR": str(collected)}
            collect = [*MANAGE, "collectstatic", "--no-input"]
            subprocess.run(collect, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
    data.mkdir()
    (data / "static").symlink_to(collected / "static")
