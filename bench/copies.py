"""Copies of a row in bulk: the rows that timed requests consume, inserted before the clock starts.

Triggers do not fire, as on a replica; every constraint holds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

COLUMNS_SQL = """
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'
      AND is_identity = 'NO' AND coalesce(column_default, '') NOT LIKE 'nextval%%'
    ORDER BY ordinal_position
"""


def insert_copies(
    admin: "psycopg.Connection[Any]",
    table: str,
    row: Mapping[str, object],
    replacements: Mapping[str, str],
    numbers: range,
    *,
    columns: Sequence[str] = (),
) -> None:
    """Copy the rows of ``table`` whose columns equal ``row``, once for each of ``numbers``.

    In every column, each key of ``replacements`` is replaced by its value, with ``{n}`` as the
    number in twelve digits. ``admin`` is a superuser's connection. Raises psycopg.Error.
    """
    if not columns:
        columns = [name for (name,) in admin.execute(COLUMNS_SQL, [table]).fetchall()]
    identifiers = [sql.Identifier(column) for column in columns]
    # Through jsonb, so that one replacement reaches every column, nested JSON included.
    changed: sql.Composable = sql.SQL("to_jsonb(template)::text")
    for old, new in replacements.items():
        changed = sql.SQL("replace({}, {}, replace({}, '{{n}}', lpad(n::text, 12, '0')))").format(
            changed, sql.Literal(old), sql.Literal(new)
        )
    statement = sql.SQL(
        "INSERT INTO {table} ({columns}) SELECT {values} FROM {table} template,"
        " generate_series({first}, {last}) n,"
        " jsonb_populate_record(NULL::{table}, ({changed})::jsonb) made WHERE {which}"
    ).format(
        table=sql.Identifier(table),
        columns=sql.SQL(", ").join(identifiers),
        values=sql.SQL(", ").join(sql.SQL("made.{}").format(name) for name in identifiers),
        first=sql.Literal(numbers.start),
        last=sql.Literal(numbers.stop - 1),
        changed=changed,
        which=sql.SQL(" AND ").join(
            sql.SQL("template.{} = {}").format(sql.Identifier(name), sql.Literal(value))
            for name, value in row.items()
        ),
    )
    with admin.transaction():
        # As on a replica: no triggers, which would refuse rows without their events.
        admin.execute("SET LOCAL session_replication_role = replica")
        admin.execute(statement)


def copy_id(row_id: str) -> str:
    """The template of the copies' ids: ``row_id`` with its last twelve digits as ``{n}``."""
    return f"{row_id[:-12]}{{n}}"
