"""The disk of PostgreSQL fills up while the application runs: /health says that writes fail, and
that they work again once there is room."""

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from orchestrator.ops import embedded_postgres
from tests.awaiting import until
from tests.clusters import start_cluster
from tests.faults.conftest import Database, serving

SIZE = "192m"
"""Room for a cluster with its tables and its write-ahead log."""


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "small"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("only who may mount can make a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture
def database_on_it(small_disk):
    place = small_disk / "postgres"
    server = start_cluster(place)
    yield Database(place, server, server.application_url)
    embedded_postgres.stop(place)


def fill(disk: Path) -> Path:
    """Write until there is no room for another byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return filler


def ask(client: httpx.Client) -> tuple[int, str]:
    answer = client.get("/health")
    return answer.status_code, answer.json()["database"]


def test_health_says_that_writes_fail_on_a_full_disk(database_on_it, small_disk, tmp_path):
    with serving(database_on_it, tmp_path) as client:
        assert ask(client) == (200, "ok")
        filler = fill(small_disk)
        until(lambda: ask(client) == (503, "writes fail"))
        assert client.get("/status").status_code == 200
        filler.unlink()
        until(lambda: ask(client) == (200, "ok"))
