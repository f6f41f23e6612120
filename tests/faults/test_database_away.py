"""PostgreSQL is away when the server starts, comes, goes and comes back; nobody restarts it."""

import json
import subprocess
import threading
import time
from collections import Counter

import httpx
import psycopg
import pytest

from tests.awaiting import until
from tests.faults.conftest import HTTPS, Database, serving
from tests.faults.severing import severing

PATIENCE = 10.0
"""Seconds after which it is a hang, however busy the machine is."""

OUTAGE = 20.0
RETURN = 10.0
"""Seconds after which what is back must have been found, however busy the machine is."""

ROUTED = {"target": "support-agent", "task": {"task_type": "notification"}}


@pytest.fixture
def web(database_of_its_own, tmp_path):
    """Started while the database is away."""
    database_of_its_own.stop()
    with serving(database_of_its_own, tmp_path) as client:
        yield client


def away(client):
    """Every door says so, and none of them hangs or fails."""
    client.timeout = PATIENCE
    assert client.get("/status").status_code == 200
    health = client.get("/health")
    assert (health.status_code, health.json()["database"]) == (503, "unavailable")
    for method, path in (
        ("GET", "/tasks"),
        ("GET", "/sessions"),
        ("POST", "/tasks/route"),
        ("GET", "/approvals"),
        ("GET", "/audit/events"),
    ):
        answer = client.request(method, path, headers={"Authorization": "Bearer ork_x"})
        assert answer.status_code == 503
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["code"] == "database_unavailable"
    for path in ("/admin/", "/admin/login/"):
        page = client.get(path, headers={"Cookie": f"sessionid={'x' * 32}"})
        assert page.status_code == 503
        assert "be reached. Nothing was lost" in page.text


def there(client):
    assert client.get("/health").json() == {"status": "ok", "version": "0.1.0", "database": "ok"}
    assert client.get("/tasks", headers={"Authorization": "Bearer ork_x"}).status_code == 401
    assert client.get("/admin/login/").status_code == 200


def until_back(client):
    """The first answer that is none of 503; a pooler looks for its server once a second."""
    deadline = time.monotonic() + RETURN
    while client.get("/health").status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.parametrize("with_tables", [False], ids=["empty"])
def test_it_starts_without_the_database_and_recovers_by_itself(web, database_of_its_own):
    away(web)

    database_of_its_own.start()
    until_back(web)
    database_of_its_own.manage("migrate", "-v0")
    there(web)

    database_of_its_own.stop()
    away(web)

    database_of_its_own.start()
    until_back(web)
    there(web)


class Agent(threading.Thread):
    """Routes one task after another, each with a key of its own, whatever it is answered."""

    def __init__(self, name, url, key, ended):
        super().__init__()
        self.acknowledged, self.seen, self.wrong = {}, Counter(), []
        self.back = None
        self._name, self._ended = name, ended
        headers = HTTPS | {"Authorization": f"Bearer {key}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=PATIENCE)

    def run(self):
        number = 0
        with self._client:
            while not self._ended.is_set():
                number += 1
                self._ask(f"{self._name}-{number}")
                self._ended.wait(0.01)

    def _ask(self, key):
        try:
            answer = self._client.post(
                "/tasks/route", json=ROUTED, headers={"Idempotency-Key": key}
            )
        except httpx.HTTPError as error:
            self.wrong.append(repr(error))
            return
        self.seen[answer.status_code] += 1
        if answer.status_code == 202:
            self.acknowledged[key] = answer.json()["task_id"]
            self.back = time.monotonic()
        elif answer.status_code != 503 or "Retry-After" not in answer.headers:
            self.wrong.append(f"{answer.status_code} {answer.text}")


def test_under_load_no_acknowledged_write_is_lost_and_nobody_hangs(database_of_its_own, tmp_path):
    made = database_of_its_own.manage("create_agent", "bot", "--role", "bot", "--format", "json")
    ended = threading.Event()
    with serving(
        database_of_its_own, tmp_path, RATE_LIMIT_PER_MINUTE="0", ADDRESS_LIMIT_PER_MINUTE="0"
    ) as client:
        until_back(client)
        key, url = json.loads(made)["key"], str(client.base_url)
        agents = [Agent(f"a{number}", url, key, ended) for number in range(4)]
        for agent in agents:
            agent.start()
        try:
            until(lambda: all(agent.acknowledged for agent in agents))
            database_of_its_own.stop()
            before = sum(agent.seen[503] for agent in agents)
            time.sleep(OUTAGE)  # what is awaited is that long an outage
            assert sum(agent.seen[503] for agent in agents) > before
            database_of_its_own.start()
            returned = time.monotonic()
            done = sum(len(agent.acknowledged) for agent in agents)
            until(lambda: sum(len(agent.acknowledged) for agent in agents) > done, RETURN)
            first = time.monotonic() - returned
            until(lambda: sum(len(agent.acknowledged) for agent in agents) > done + 50)
        finally:
            ended.set()
            for agent in agents:
                agent.join()
        wrong = [what for agent in agents for what in agent.wrong]
        assert wrong == []
        assert first < RETURN
        acknowledged = {k: v for agent in agents for k, v in agent.acknowledged.items()}
        with psycopg.connect(database_of_its_own.server.url) as admin:
            kept = dict(admin.execute("SELECT idempotency_key, id::text FROM tasks").fetchall())
        assert {k: kept.get(k) for k in acknowledged} == acknowledged
        again = client.post(
            "/tasks/route",
            json=ROUTED,
            headers={"Authorization": f"Bearer {key}", "Idempotency-Key": min(acknowledged)},
        )
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.json()["task_id"] == acknowledged[min(acknowledged)]
    assert "whole" in database_of_its_own.manage("verify_audit")


@pytest.mark.parametrize("database_of_its_own", ["direct"], indirect=True)
def test_a_server_that_ends_while_it_says_committed_is_away_and_a_retry_learns_it(
    database_of_its_own, tmp_path
):
    made = database_of_its_own.manage("create_agent", "bot", "--role", "bot", "--format", "json")
    headers = {"Authorization": f"Bearer {json.loads(made)['key']}", "Idempotency-Key": "k"}
    server = database_of_its_own.server
    with severing(server.port) as between:
        url = server.application_url.replace(f":{server.port}/", f":{between.port}/")
        with serving(Database(database_of_its_own.place, server, url), tmp_path) as client:
            client.post("/tasks/route", json=ROUTED, headers=headers | {"Idempotency-Key": "j"})
            between.farewells = 1
            severed = client.post("/tasks/route", json=ROUTED, headers=headers)
            assert between.farewells == 0
            assert (severed.status_code, severed.json()["code"]) == (503, "database_unavailable")
            until_back(client)
            again = client.post("/tasks/route", json=ROUTED, headers=headers)
            assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")


@pytest.mark.parametrize("database_of_its_own", ["direct"], indirect=True)
def test_a_command_whose_server_ends_as_it_says_committed_says_so_in_one_sentence(
    database_of_its_own,
):
    server = database_of_its_own.server
    with severing(server.port) as between:
        url = server.application_url.replace(f":{server.port}/", f":{between.port}/")
        between.farewells = 1
        with pytest.raises(subprocess.CalledProcessError) as refused:
            Database(database_of_its_own.place, server, url).manage(
                "create_agent", "bot", "--role", "bot"
            )
    assert between.farewells == 0
    assert refused.value.stderr == (
        "CommandError: PostgreSQL can't be reached: the connection was lost.\n"
    )


def test_commands_work_through_it(database_of_its_own):
    database_of_its_own.manage("create_agent", "bot", "--role", "bot")
    for command in ("expire_sessions", "expire_approvals", "release_leases", "purge"):
        database_of_its_own.manage(command)
    assert "whole" in database_of_its_own.manage("verify_audit")
    assert "can do no more" in database_of_its_own.manage("database_roles", "--check")


@pytest.mark.parametrize("database_of_its_own", ["direct"], indirect=True)
def test_plain_http_is_sent_to_https(web):
    answer = web.get("/tasks", headers={"X-Forwarded-Proto": "http"})
    assert (answer.status_code, answer.headers["Location"]) == (
        301,
        "https://orchestrator.example/tasks",
    )
    assert web.get("/status", headers={"X-Forwarded-Proto": "http"}).status_code == 200
