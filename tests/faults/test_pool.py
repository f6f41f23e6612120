"""A connection of the pool that died is found out before it is used."""

import select
from threading import Event

import psycopg
import pytest
from django.db import connection
from psycopg.pq import Format
from psycopg.types.datetime import TimestamptzLoader

from audit_app.bell import Bell
from orchestrator import pool
from tests.database import database_url


@pytest.fixture
def pooled():
    with psycopg.connect(database_url(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def beside():
    with psycopg.connect(database_url(superuser=True), autocommit=True) as connection:
        yield connection


def last_asked(beside, pooled):
    asked = "SELECT query_start FROM pg_stat_activity WHERE pid = %s"
    return beside.execute(asked, [pooled.info.backend_pid]).fetchone()[0]


def test_a_living_one_is_not_asked_again_at_once(pooled, beside, monkeypatch):
    monkeypatch.setattr(pool, "TRUSTED", 3600)
    pool.check(pooled)
    before = last_asked(beside, pooled)
    pool.check(pooled)
    assert last_asked(beside, pooled) == before


def test_but_again_after_a_while(pooled, beside, monkeypatch):
    monkeypatch.setattr(pool, "TRUSTED", 0)
    pool.check(pooled)
    before = last_asked(beside, pooled)
    pool.check(pooled)
    assert last_asked(beside, pooled) > before


def test_one_whose_server_ended_it_is_dead(pooled, beside, monkeypatch):
    monkeypatch.setattr(pool, "TRUSTED", 3600)
    pool.check(pooled)
    beside.execute("SELECT pg_terminate_backend(%s)", [pooled.info.backend_pid])
    told = select.poll()
    told.register(pooled.fileno(), select.POLLIN)
    told.poll()
    with pytest.raises(psycopg.OperationalError):
        pool.check(pooled)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-28 04:30:10.638269+00",
        "2026-11-28 04:30:10+02",
        "2026-11-28 04:30:10.5+05:30",
        "0001-01-01 00:00:00+00",
    ],
)
def test_moments_are_read_as_django_reads_them(text):
    psycopgs = TimestamptzLoader(0).load(text.encode())
    assert pool.MomentLoader(0).load(text.encode()) == psycopgs


def test_a_moment_beyond_python_is_refused_as_psycopg_does():
    with pytest.raises(psycopg.DataError):
        pool.MomentLoader(0).load(b"infinity")


def test_connections_read_moments_so():
    with connection.cursor() as cursor:
        cursor.execute("SELECT timestamptz '2026-11-28 06:30:10.638269+02'")
        (moment,) = cursor.fetchone()
        loader = cursor.connection.adapters.get_loader(1184, Format.TEXT)
    assert (moment.isoformat(), loader) == (
        "2026-11-28T04:30:10.638269+00:00",
        pool.MomentLoader,
    )


def test_who_listens_through_a_pooler_never_believes_to_hear_all(database_of_its_own, settings):
    settings.DATABASE_DIRECT_URL = database_of_its_own.url
    bell, begun, gone_on = Bell(), Event(), Event()
    try:
        bell.listen("some_channel", begun.set)
        assert begun.wait(60)
        bell.listen("another_channel", gone_on.set)  # which is done in the next round
        assert gone_on.wait(60)
        direct = database_of_its_own.url == database_of_its_own.server.application_url
        assert bell.is_current() == direct
    finally:
        bell.stop()
