"""A connection of the pool that died is found out before it is used."""

import select

import psycopg
import pytest

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
