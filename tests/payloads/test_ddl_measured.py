"""A dozen lines of kinds/ddl.tsv, measured again on the tests' own PostgreSQL."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from approvals_app.payload.kinds._ddl import Measurement, read_measurements
from tests.database import database_url

ROWS = 500
AGAIN = {
    "ADD COLUMN int",
    "ADD COLUMN int DEFAULT 5",
    "ADD COLUMN timestamptz DEFAULT now()",
    "ADD COLUMN timestamptz DEFAULT clock_timestamp()",
    "ADD COLUMN uuid DEFAULT gen_random_uuid()",
    "ADD COLUMN int CHECK (c>0)",
    "ALTER TYPE int->bigint",
    "ALTER TYPE text->varchar",
    "ALTER TYPE text->varchar(50)",
    "SET NOT NULL",
    "DROP NOT NULL",
    "ADD CHECK",
    "ADD CHECK NOT VALID",
    "SET STATISTICS",
    "SET UNLOGGED",
    "CREATE INDEX",
    "TRUNCATE",
}
STRENGTH = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)


@pytest.fixture
def table() -> "Iterator[psycopg.Connection[Any]]":
    """A connection to a table of 500 rows, in a schema that is never committed."""
    with psycopg.connect(database_url(superuser=True)) as connection:
        connection.execute("CREATE SCHEMA measured; SET search_path TO measured")
        connection.execute("CREATE TABLE t (a int, tx text)")
        connection.execute("INSERT INTO t SELECT n, n FROM generate_series(1, %s) n", [ROWS])
        connection.commit()
        yield connection
        connection.rollback()
        connection.execute("DROP SCHEMA measured CASCADE")


@pytest.mark.parametrize(
    "line",
    [each for each in read_measurements() if each.statement in AGAIN],
    ids=lambda e: e.statement,
)
def test_lock_rewrite_and_rows_are_as_measured(
    line: Measurement, table: "psycopg.Connection[Any]"
) -> None:
    version = 0 if table.info.server_version < 180000 else 1
    before = _file(table)
    table.commit()  # the locks of reading the catalog go
    table.execute(line.sql)
    locks = table.execute(
        "SELECT mode FROM pg_locks WHERE relation = 't'::regclass AND pid = pg_backend_pid()"
    ).fetchall()
    strongest = max((mode for (mode,) in locks), key=STRENGTH.index)
    assert strongest == f"{line.locks[version]}Lock"
    assert (_file(table) != before) is (line.rewrites[version] == "yes")
    [(rows,)] = table.execute(
        "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relid = 't'::regclass"
    ).fetchall()
    assert rows == (ROWS if "rows" in line.reads[version] else 0)


def test_a_dozen_lines_are_measured() -> None:
    assert len(AGAIN & {each.statement for each in read_measurements()}) == len(AGAIN) >= 12


def _file(connection: "psycopg.Connection[Any]") -> int:
    [(number,)] = connection.execute(
        "SELECT relfilenode FROM pg_class WHERE oid = 't'::regclass"
    ).fetchall()
    return int(number)
