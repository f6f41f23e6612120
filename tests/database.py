"""The tests' database, in which the tests are the application: its role owns nothing.

What only a superuser can do (making time pass, tampering) is done on a connection of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import psycopg
from django.db import connection, connections
from psycopg import sql

from orchestrator.ops.database_roles import Login, establish

KEPT = ("django_migrations", "schema_objects", "django_content_type", "auth_permission")
PASSWORD = "the tests' own"
_superuser: dict[str, Any] = {}


def become_the_application() -> None:
    """Connect as the application from now on, whichever thread asks."""
    place = connection.settings_dict
    _superuser.update(USER=place["USER"], PASSWORD=place["PASSWORD"])
    owner, application = (Login(f"{place['NAME']}_{who}", PASSWORD) for who in ("owner", "app"))
    with as_superuser() as admin:
        establish(admin, owner=owner, application=application)
    connection.close()
    place.update(USER=application.name, PASSWORD=PASSWORD)


def become_the_superuser() -> None:
    connection.close()
    connection.settings_dict.update(_superuser)


def remove_roles(name: str) -> None:
    """Those of the database ``name``, once it is dropped."""
    with psycopg.connect(database_url(superuser=True, name="postgres"), autocommit=True) as admin:
        for who in ("owner", "app"):
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(f"{name}_{who}")))


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
    """Remove what tests wrote, and let go of every connection of this thread.

    The trail refuses DELETE, so it is done as a replica would apply it: without triggers.
    """
    tables = [t for t in connection.introspection.table_names() if t not in KEPT]
    connections.close_all()
    with without_guards() as cursor:
        # DELETE, since it is twenty times as fast as TRUNCATE on tables of a few rows.
        cursor.execute("".join(f"DELETE FROM {table};" for table in tables))


def database_url(*, superuser: bool = False, name: str | None = None) -> str:
    """As the application reaches it now: for a process of its own."""
    place = connection.settings_dict | (_superuser if superuser else {})
    login = f"{quote(place['USER'])}:{quote(place['PASSWORD'] or '', safe='')}"
    where = f"{place['HOST']}:{place['PORT']}" if place["PORT"] else place["HOST"]
    return f"postgresql://{login}@{where}/{name or place['NAME']}"
