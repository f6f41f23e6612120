"""Shared by the benchmarks that run in one process: a database that is filled once, and a
yardstick that shows when other processes used the machine."""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from bench.machine import describe_machine
from bench.serving import exit_on_sigterm

NOISY_YARDSTICK = 1.5
"""How much slower than its best the yardstick may be before a figure is marked as noisy."""

TRANSACTION_STATEMENTS = ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT", "ROLLBACK")


@contextmanager
def run_server(folder: Path | None, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a PostgreSQL with full durability, set up Django and print the machine's description.

    The data stays in ``folder``, or in a temporary one. Yields the superuser's URL.
    """
    # Set before Django is imported: settings read the environment at import.
    os.environ.update(TRIAL="on", LOG_LEVEL="WARNING", RATE_LIMIT_PER_MINUTE="0")
    os.environ.update(ADDRESS_LIMIT_PER_MINUTE="0", DJANGO_SETTINGS_MODULE="orchestrator.settings")
    exit_on_sigterm()
    with ExitStack() as stack:
        data_folder = folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-bench-"))
        )
        os.environ["DATA_DIR"] = str(data_folder)
        from orchestrator.ops import embedded_postgres

        postgres = embedded_postgres.start(data_folder / "postgres", settings=settings)
        os.environ["DATABASE_URL"] = postgres.url
        try:
            import django

            django.setup()
            logging.disable(logging.INFO)
            facts = describe_machine(postgres.url).items()
            print(", ".join(f"{name} {value}" for name, value in facts), flush=True)
            yield postgres.url
        finally:
            embedded_postgres.stop(data_folder / "postgres")


def use_database(
    url: str,
    name: str,
    fill: Callable[["psycopg.Connection[Any]"], None],
    *,
    filled: str = "sessions",
) -> str:
    """Point Django at the database ``name``, creating and migrating it; return its URL.

    Where its table ``filled`` is empty, ``fill`` it over a superuser's connection on which no
    trigger fires.
    """
    from django.core.management import call_command
    from django.db import connection

    with psycopg.connect(url, autocommit=True) as admin:
        exists = admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if exists is None:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    connection.close()
    connection.settings_dict["NAME"] = name
    call_command("migrate", verbosity=0)
    database_url = url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(database_url) as builder:
        any_row = sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(filled))
        if builder.execute(any_row).fetchone() is None:
            start = time.monotonic()
            builder.execute("SET session_replication_role = replica")
            builder.execute("SET work_mem = '256MB'")
            builder.execute("SET maintenance_work_mem = '1GB'")
            builder.commit()
            fill(builder)
            builder.commit()
            print(f"{name} was built in {time.monotonic() - start:.0f} s.", flush=True)
            with psycopg.connect(database_url, autocommit=True) as admin:
                admin.execute("VACUUM (ANALYZE)")
    return database_url


def run_script(builder: "psycopg.Connection[Any]", script: str, values: Mapping[str, Any]) -> None:
    """Execute the statements of ``script``, one by one, with ``values``."""
    for statement in script.split(";\n"):
        if statement.strip():
            builder.execute(statement.encode(), values)


def count_rows(url: str, tables: tuple[str, ...]) -> dict[str, int]:
    """The number of rows in each of ``tables``."""
    counts = {}
    with psycopg.connect(url, autocommit=True) as admin:
        for table in tables:
            row = admin.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
            counts[table] = (row.fetchone() or (0,))[0]
    return counts


def time_yardstick() -> float:
    """Time a fixed piece of work, part of it in Python and part in PostgreSQL, in seconds."""
    from django.db import connection

    start = time.perf_counter()
    sum(n * n for n in range(300_000))
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(g) FROM generate_series(1, 100000) g")
        cursor.fetchone()
    return time.perf_counter() - start
