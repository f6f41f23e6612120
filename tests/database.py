"""The tests' database, in which the tests are the application: its role owns nothing.

What only a superuser can do (making time pass, tampering) is done on a connection of its own.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from psycopg import sql
from psycopg.pq import TransactionStatus

from orchestrator.ops.database_roles import Login, create_roles

KEPT = ("django_migrations", "schema_objects", "django_content_type", "auth_permission")
PASSWORD = "the tests' own"
TEMPLATE = "test_orchestrator_template"
_superuser: dict[str, Any] = {}
_emptying: list["psycopg.Connection[Any]"] = []


def create_database(name: str) -> None:
    """Connect to a new database ``name`` from now on: a copy of one that is migrated once a run.

    Raises psycopg.Error where ``name`` is another run's that still goes on.
    """
    migrated = Path(settings.DATA_DIR) / "template"
    connection.close()
    with hold_lock("template"), _administrator() as admin:
        if not migrated.exists():
            _recreate(admin, TEMPLATE, template="template1")
            connection.settings_dict["NAME"] = TEMPLATE
            call_command("migrate", verbosity=0)
            connection.close()
            migrated.touch()
        _recreate(admin, name, template=TEMPLATE)
    connection.settings_dict["NAME"] = name


def drop_database(name: str) -> None:
    """And the roles that ``become_the_application`` made for it."""
    while _emptying:
        _emptying.pop().close()
    connections.close_all()
    with _administrator() as admin:
        admin.execute(_drop(name))
        for who in ("owner", "app"):
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(f"{name}_{who}")))


def drop_template(url: str) -> None:
    """After the last worker; what was made for one run is not the next one's."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(_drop(TEMPLATE))


@contextmanager
def hold_lock(what: str) -> Iterator[None]:
    """Only one process of a run makes ``what`` at a time."""
    with (Path(settings.DATA_DIR) / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _administrator() -> "psycopg.Connection[Any]":
    return psycopg.connect(database_url(superuser=True, name="postgres"), autocommit=True)


def _recreate(admin: "psycopg.Connection[Any]", name: str, *, template: str) -> None:
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
    admin.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template)
        )
    )


def _drop(name: str) -> sql.Composed:
    return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))


def become_the_application() -> None:
    """Connect as the application from now on, whichever thread asks."""
    place = connection.settings_dict
    _superuser.update(USER=place["USER"], PASSWORD=place["PASSWORD"])
    owner, application = (Login(f"{place['NAME']}_{who}", PASSWORD) for who in ("owner", "app"))
    with as_superuser() as admin:
        create_roles(admin, owner=owner, application=application)
    connection.close()
    place.update(USER=application.name, PASSWORD=PASSWORD)


def become_the_superuser() -> None:
    connection.close()
    connection.settings_dict.update(_superuser)


@contextmanager
def as_superuser() -> Iterator["psycopg.Connection[Any]"]:
    """A connection beside Django's; committed at the end."""
    with psycopg.connect(database_url(superuser=True)) as admin:
        yield admin


@contextmanager
def without_guards() -> Iterator["psycopg.Cursor[Any]"]:
    """A superuser's cursor on whose statements no trigger fires, as in a replica."""
    with as_superuser() as admin, admin.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        yield cursor


def empty() -> None:
    """Remove what tests wrote, and leave Django's connection as a request leaves it.

    The trail refuses DELETE, so it is done as a replica would apply it: without triggers.
    """
    _let_go()
    try:
        _emptier().execute("SELECT pg_temp.empty()")
    except psycopg.OperationalError:  # a test ended every connection
        _emptying.pop().close()
        _emptier().execute("SELECT pg_temp.empty()")


def _let_go() -> None:
    """Connecting costs more than most tests: a connection with nothing left in it is kept.

    Whoever SETs something for a session resets it.
    """
    own = connection.connection
    idle = own is not None and own.info.transaction_status == TransactionStatus.IDLE
    if not idle or connection.in_atomic_block or not connection.get_autocommit():
        connections.close_all()


def _emptier() -> "psycopg.Connection[Any]":
    """A superuser's connection that is kept, with a function whose plans are kept as well."""
    if not _emptying:
        own = psycopg.connect(database_url(superuser=True), autocommit=True)
        own.execute("SET session_replication_role = replica")
        tables = own.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relname <> ALL (%s)"
            " AND relnamespace = 'public'::regnamespace ORDER BY 1",
            [list(KEPT)],
        ).fetchall()
        # DELETE, since it is twenty times as fast as TRUNCATE on tables of a few rows.
        body = "".join(f"DELETE FROM {table};" for (table,) in tables)
        own.execute(
            f"CREATE FUNCTION pg_temp.empty() RETURNS void LANGUAGE plpgsql AS $$BEGIN {body} END$$"
        )
        _emptying.append(own)
    return _emptying[0]


def database_url(*, superuser: bool = False, name: str | None = None) -> str:
    """As the application reaches it now: for a process of its own."""
    place = connection.settings_dict | (_superuser if superuser else {})
    login = f"{quote(place['USER'])}:{quote(place['PASSWORD'] or '', safe='')}"
    where = f"{place['HOST']}:{place['PORT']}" if place["PORT"] else place["HOST"]
    return f"postgresql://{login}@{where}/{name or place['NAME']}"
