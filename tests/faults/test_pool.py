"""Connections to PostgreSQL that died, and those that a pooler lends on."""

from threading import Event

import psycopg
import pytest

from audit_app.live.notifier import Notifier
from tests.faults.conftest import serving

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
