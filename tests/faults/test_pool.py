"""Connections to PostgreSQL that died, and those that a pooler lends on."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event

import psycopg
import pytest

from audit_app.live.notifier import Notifier
from tests.awaiting import until
from tests.database import database_url
from tests.faults.conftest import serving
from tests.serving import client_of, free_port, gunicorn, on_the_tests_database

KEY = {"Authorization": "Bearer ork_x"}


@pytest.mark.parametrize("database_of_its_own", ["direct"], indirect=True)
def test_no_request_gets_a_connection_that_died(database_of_its_own, tmp_path):
    database_of_its_own.manage("migrate", "-v0")
    with serving(database_of_its_own, tmp_path) as client:
        assert client.get("/tasks", headers=KEY).status_code == 401  # the key was looked up
        with psycopg.connect(database_of_its_own.server.url) as admin:
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
                " WHERE application_name = 'orchestrator'"
            ).fetchall()
        assert ended
        assert client.get("/tasks", headers=KEY).status_code == 401


def test_who_listens_through_a_pooler_is_not_taken_to_hear_everything(
    database_of_its_own, settings
):
    settings.DATABASE_DIRECT_URL = database_of_its_own.url
    notifier, rounds = Notifier(), []
    third = Event()

    def count(own):
        rounds.append(own)
        if len(rounds) == 3:
            third.set()

    try:
        notifier.listen("some_channel", lambda: None)
        notifier.attach(count)
        assert third.wait(60)
        direct = database_of_its_own.url == database_of_its_own.server.application_url
        assert notifier.is_listening("some_channel") == direct
    finally:
        notifier.stop()


def test_a_full_pool_is_overloaded_and_no_outage(bot, tmp_path):
    with ExitStack() as stack:
        port = free_port()
        log = tmp_path / "log"
        stack.enter_context(gunicorn(log, on_the_tests_database(port, DB_POOL_MAX="1")))
        headers = {"Authorization": f"Bearer {bot.key}"}
        agent, other = (
            stack.enter_context(client_of(port, headers=headers, timeout=20)) for _ in range(2)
        )
        assert agent.get("/tasks").status_code == 200
        people = ThreadPoolExecutor(1)
        with psycopg.connect(database_url(superuser=True)) as admin:
            admin.execute("LOCK TABLE sessions")
            waiting = people.submit(other.get, "/sessions")
            until(lambda: count_blocked(admin) == 1)
            refused = agent.get("/tasks")
            page = agent.get("/admin/login/", headers={"Cookie": f"sessionid={'x' * 32}"})
            assert agent.get("/status").status_code == 200

        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) > 0
        assert (page.status_code, page.headers["Retry-After"]) == (503, "2")
        assert "more to do than it can take" in page.text
        # Nothing is looked into, so everybody is served as soon as there is a connection.
        assert waiting.result().status_code == 200
        assert agent.get("/tasks").status_code == 200
        assert "database unavailable" not in log.read_text()


def count_blocked(admin):
    (count,) = admin.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return count
