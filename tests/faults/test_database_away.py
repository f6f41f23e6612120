"""PostgreSQL is away when the server starts, comes, goes and comes back; nobody restarts it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from orchestrator import embedded_postgres

ROOT = Path(__file__).parents[2]


@pytest.fixture
def database_of_its_own(tmp_path):
    """A server that the test may stop; it keeps its port."""
    place = tmp_path / "postgres"
    yield place, embedded_postgres.start(place, durable=False)
    embedded_postgres.stop(place)


@pytest.fixture
def web(database_of_its_own, tmp_path):
    """gunicorn as in production, started while the database is away."""
    place, server = database_of_its_own
    embedded_postgres.stop(place)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": server.url,
        "DATA_DIR": str(tmp_path / "data"),
        "SECRET_KEY": "s" * 64,
        "ALLOWED_HOSTS": "orchestrator.example",
        "PORT": str(port),
    }
    manage = [sys.executable, "manage.py"]
    subprocess.run(
        [*manage, "collectstatic", "--no-input"], cwd=ROOT, env=env, check=True, stdout=-3
    )
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", "orchestrator/gunicorn.py"]
    with (tmp_path / "log").open("w") as log:
        serving = subprocess.Popen([*gunicorn, "orchestrator.wsgi"], cwd=ROOT, env=env, stderr=log)
    headers = {"Host": "orchestrator.example", "X-Forwarded-Proto": "https"}
    transport = httpx.HTTPTransport(retries=8)  # while it starts
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers=headers, transport=transport, timeout=10
    ) as client:
        yield client, [*manage, "migrate", "-v0"], env
    serving.terminate()
    assert serving.wait(timeout=30) in (0, -signal.SIGTERM)
    assert "Traceback" not in (tmp_path / "log").read_text()


def away(client):
    """Every door says so, and none of them hangs or fails."""
    assert client.get("/status").status_code == 200
    health = client.get("/health")
    assert (health.status_code, health.json()["database"]) == (503, "unavailable")
    answer = client.get("/tasks", headers={"Authorization": "Bearer ork_x"})
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["code"] == "database_unavailable"
    page = client.get("/admin/", headers={"Cookie": f"sessionid={'x' * 32}"})
    assert page.status_code == 503
    assert "be reached. Nothing was lost" in page.text


def there(client):
    assert client.get("/health").json() == {"status": "ok", "version": "0.1.0", "database": "ok"}
    assert client.get("/tasks", headers={"Authorization": "Bearer ork_x"}).status_code == 401
    assert client.get("/admin/login/").status_code == 200


@pytest.mark.xdist_group("run")
def test_it_starts_without_the_database_and_recovers_by_itself(web, database_of_its_own):
    client, migrate, env = web
    place, _ = database_of_its_own
    away(client)

    embedded_postgres.start(place, durable=False)
    subprocess.run(migrate, cwd=ROOT, env=env, check=True)
    there(client)

    embedded_postgres.stop(place)
    away(client)

    embedded_postgres.start(place, durable=False)
    there(client)


@pytest.mark.xdist_group("run")
def test_plain_http_is_sent_to_https(web):
    client, _, _ = web
    answer = client.get("/tasks", headers={"X-Forwarded-Proto": "http"})
    assert (answer.status_code, answer.headers["Location"]) == (
        301,
        "https://orchestrator.example/tasks",
    )
    assert client.get("/status", headers={"X-Forwarded-Proto": "http"}).status_code == 200
