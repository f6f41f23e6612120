"""A key that is remembered is forgotten with the commit that changes it."""

import time
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit_app import bell as bells
from audit_app.actors import Actor
from audit_app.bell import Bell
from audit_app.watch import Watch
from sessions_app import authentication, identities, known_keys
from sessions_app.known_keys import KnownKeys
from sessions_app.models import Agent, AgentKey
from tests.awaiting import until
from tests.database import as_superuser, database_url
from tests.factories import OPS, SessionFactory


@pytest.fixture
def keys(bot, monkeypatch):
    """As a web process has them, but that they are never forgotten for being old."""
    monkeypatch.setattr(known_keys, "KEPT", 3600.0)
    bell = Bell()
    keys = KnownKeys(bell, Watch())
    monkeypatch.setattr(authentication, "known_keys", keys)
    keys.keep()
    until(bell.is_current)
    yield keys
    bell.stop()


@pytest.fixture
def asks(api, bot):
    """Whether a request of the bot's has its key looked up; None if it was refused."""

    def asks():
        with CaptureQueriesContext(connection) as captured:
            status = api(bot).get("/sessions").status_code
        if status == 401:
            return None
        assert status == 200
        return any('FROM "agent_keys"' in query["sql"] for query in captured.captured_queries)

    return asks


def all_is_heard(keys):
    """Return once everything that was committed until now was heard of."""
    now = time.monotonic()
    until(lambda: keys._bell._caught_up > now)


def run(statement):
    with as_superuser() as admin:
        admin.execute(statement)


def test_it_is_looked_up_once(keys, asks):
    assert [asks(), asks(), asks()] == [True, False, False]


def test_nobody_remembers_who_does_not_listen(asks):
    assert [asks(), asks()] == [True, True]


@pytest.mark.parametrize(
    "change",
    [
        lambda bot: identities.revoke_agent(bot.pk, by=OPS),
        lambda bot: identities.rotate_key(bot.pk, by=OPS),
        lambda bot: run("TRUNCATE agent_keys"),
    ],
    ids=["revoked", "rotated", "removed"],
)
def test_it_is_refused_once_that_is_heard(keys, asks, bot, change):
    assert [asks(), asks()] == [True, False]
    change(bot)
    until(lambda: asks() is None)


def test_roles_are_those_of_now(keys, asks, bot, api):
    assert [asks(), asks()] == [True, False]
    opened = {"agent_role": "another"}
    assert api(bot).post("/sessions", opened).status_code == 403
    identities.change_agent(bot.pk, by=OPS, roles=["another"], owner_id=None, subject=None)
    until(lambda: api(bot).post("/sessions", opened).status_code == 201)


def test_what_is_no_change_is_not_heard_of(keys, asks, bot):
    assert [asks(), asks()] == [True, False]
    SessionFactory(agent=bot)
    AgentKey.objects.update(last_used_at=timezone.now())
    all_is_heard(keys)
    assert asks() is False


def test_what_changes_during_the_look_up_is_not_remembered(keys, bot):
    actor = bot.as_actor()
    mark = keys.mark()
    keys.remember("hash", actor, since=mark)
    assert keys.find("hash") == actor
    Agent.objects.filter(pk=bot.pk).update(owner=None)
    until(lambda: keys.find("hash") is None)
    keys.remember("hash", actor, since=mark)
    assert keys.find("hash") is None


def test_a_key_that_ends_by_itself_is_looked_up_each_time(keys, asks, bot):
    assert [asks(), asks()] == [True, False]
    identities.rotate_key(bot.pk, by=OPS, overlap=timedelta(hours=1))
    until(asks)
    assert [asks(), asks()] == [True, True]


def test_what_the_trail_tells_before_postgresql_does_is_heeded(keys, bot, monkeypatch):
    monkeypatch.setattr(known_keys, "CHANNEL", "nobody_says_anything_here")
    watch = Watch()
    deaf = KnownKeys(keys._bell, watch)
    deaf.keep()
    until(lambda: deaf.mark().changes)  # it has begun to listen
    with psycopg.connect(database_url(), autocommit=True) as own:
        watch._read(own)  # as the bell does when it rings
        deaf.remember("hash", bot.as_actor(), since=deaf.mark())
        SessionFactory(agent=bot)
        watch._read(own)
        assert deaf.find("hash") == bot.as_actor()
        before = deaf.mark()
        identities.rotate_key(bot.pk, by=OPS)
        watch._read(own)
        assert deaf.find("hash") is None
        deaf.remember("hash", bot.as_actor(), since=before)
        assert deaf.find("hash") is None


def test_whose_connection_breaks_off_forgets(keys, asks):
    assert [asks(), asks()] == [True, False]
    run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND query IN"
        " ('SELECT', 'LISTEN orchestrator_identities', 'SELECT pg_backend_pid()')"
    )
    until(asks)
    all_is_heard(keys)
    assert [asks(), asks()] == [True, False]


def test_a_connection_that_went_silent_is_not_believed_for_long(keys, asks, monkeypatch):
    assert [asks(), asks()] == [True, False]
    monkeypatch.setattr(bells, "CURRENT", 0.0)
    assert [asks(), asks()] == [True, True]


def test_an_old_one_is_looked_up_again(keys, asks, monkeypatch):
    assert [asks(), asks()] == [True, False]
    monkeypatch.setattr(known_keys, "KEPT", 0.0)
    assert [asks(), asks()] == [True, True]


def test_there_is_an_end_to_how_many(keys, monkeypatch):
    monkeypatch.setattr(known_keys, "REMEMBERED", 2)
    for name in ("one", "two", "three"):
        keys.remember(name, Actor.system(name), since=keys.mark())
    assert [keys.find(name) is None for name in ("one", "two", "three")] == [True, True, False]
