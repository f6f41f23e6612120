"""A key that is cached is dropped with the commit that changes it."""

from datetime import timedelta
from threading import Event

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit_app.base.actors import Actor
from audit_app.live.long_poll import ENVIRON_KEY, Resumption
from audit_app.live.notifier import Notifier
from sessions_app import agents
from sessions_app.auth import authentication, key_cache
from sessions_app.auth.key_cache import KeyCache
from sessions_app.models import Agent, AgentKey
from tests.awaiting import until
from tests.database import as_superuser
from tests.factories import OPS, SessionFactory


@pytest.fixture
def notifier():
    notifier = Notifier()
    yield notifier
    notifier.stop()


@pytest.fixture
def keys(notifier, bot, monkeypatch):
    """As a web process has them, but that none of them ever gets too old."""
    return cache_that_listens(notifier, monkeypatch)


@pytest.fixture
def deaf_keys(notifier, bot, monkeypatch):
    """They listen where nobody ever says anything."""
    monkeypatch.setattr(key_cache, "CHANNEL", "nobody_says_anything_here")
    return cache_that_listens(notifier, monkeypatch)


def cache_that_listens(notifier, monkeypatch):
    monkeypatch.setattr(key_cache, "MAX_AGE", 3600.0)
    keys = KeyCache(notifier)
    monkeypatch.setattr(authentication, "key_cache", keys)
    keys.start()
    until(lambda: keys.generation > 0)  # it has begun to listen
    return keys


@pytest.fixture
def asks(api, bot):
    """Whether a request of the bot's has its key looked up; None if it was refused."""

    def asks(**environ):
        with CaptureQueriesContext(connection) as captured:
            caller = api(bot)
            status = caller.client.get("/sessions", headers=caller.headers, **environ).status_code
        if status == 401:
            return None
        assert status == 200
        return any('FROM "agent_keys"' in query["sql"] for query in captured.captured_queries)

    return asks


def hear_all(notifier):
    """Return once every notice that was committed until now was delivered."""
    heard = Event()
    notifier.listen("the_tests_own", heard.set)
    assert heard.wait(60)  # that it begins
    heard.clear()
    run("NOTIFY the_tests_own")
    assert heard.wait(60)


def run(statement):
    with as_superuser() as admin:
        admin.execute(statement)


def test_it_is_looked_up_once(keys, asks):
    assert [asks(), asks(), asks()] == [True, False, False]


def test_nothing_is_cached_where_nobody_listens(asks):
    assert [asks(), asks()] == [True, True]


@pytest.mark.parametrize(
    "change",
    [
        lambda bot: agents.revoke_agent(bot.pk, by=OPS),
        lambda bot: agents.rotate_key(bot.pk, by=OPS),
        lambda bot: run("TRUNCATE agent_keys"),
    ],
    ids=["revoked", "rotated", "removed"],
)
def test_it_is_refused_once_the_notification_is_delivered(notifier, keys, asks, bot, change):
    assert [asks(), asks()] == [True, False]
    change(bot)
    hear_all(notifier)
    assert asks() is None


def test_roles_are_those_of_now(notifier, keys, asks, bot, api):
    assert [asks(), asks()] == [True, False]
    opened = {"agent_role": "another"}
    assert api(bot).post("/sessions", opened).status_code == 403
    agents.change_agent(bot.pk, by=OPS, roles=["another"], owner_id=None, subject=None)
    hear_all(notifier)
    assert api(bot).post("/sessions", opened).status_code == 201


def test_what_is_no_change_of_an_agent_or_a_key_keeps_the_cache(notifier, keys, asks, bot):
    assert [asks(), asks()] == [True, False]
    SessionFactory(agent=bot)
    AgentKey.objects.update(last_used_at=timezone.now())
    hear_all(notifier)
    assert asks() is False


def test_what_changes_during_the_look_up_is_not_cached(notifier, keys, bot):
    actor = bot.as_actor()
    generation = keys.generation
    keys.put("hash", actor, generation=generation)
    assert keys.get("hash") == actor
    Agent.objects.filter(pk=bot.pk).update(owner=None)
    hear_all(notifier)
    assert keys.get("hash") is None
    keys.put("hash", actor, generation=generation)
    assert keys.get("hash") is None


def test_a_key_that_ends_by_itself_is_looked_up_each_time(notifier, keys, asks, bot):
    assert [asks(), asks()] == [True, False]
    agents.rotate_key(bot.pk, by=OPS, overlap=timedelta(hours=1))
    hear_all(notifier)
    assert [asks(), asks()] == [True, True]


def test_a_long_poll_that_is_woken_never_trusts_the_cache(deaf_keys, asks, bot):
    """The trail may wake it before the notice empties the cache."""
    assert [asks(), asks()] == [True, False]
    agents.revoke_agent(bot.pk, by=OPS)
    assert asks() is False
    assert asks(**{ENVIRON_KEY: Resumption()}) is None


def test_a_connection_that_breaks_off_empties_the_cache(notifier, keys, asks):
    assert [asks(), asks()] == [True, False]
    before = keys.generation
    run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query = 'LISTEN orchestrator_identities'"
    )
    until(lambda: keys.generation >= before + 2)  # it ended, and has begun anew
    assert [asks(), asks()] == [True, False]


def test_nothing_is_cached_once_listening_has_ended(notifier, keys, asks):
    assert [asks(), asks()] == [True, False]
    notifier.stop()
    assert [asks(), asks()] == [True, True]


def test_an_old_one_is_looked_up_again(deaf_keys, asks, bot, monkeypatch):
    assert [asks(), asks()] == [True, False]
    agents.revoke_agent(bot.pk, by=OPS)
    monkeypatch.setattr(key_cache, "MAX_AGE", 0.0)
    assert asks() is None


def test_there_is_an_end_to_how_many(keys, monkeypatch):
    monkeypatch.setattr(key_cache, "MAX_ENTRIES", 2)
    for name in ("one", "two", "three"):
        keys.put(name, Actor.system(name), generation=keys.generation)
    assert [keys.get(name) is None for name in ("one", "two", "three")] == [True, True, False]
