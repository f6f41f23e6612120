"""The database's functions, views and triggers, created from files with their current text.

The files are ``<app>/sql/{functions,views,triggers}/NAME.sql``: one function, one view or the
triggers of one table per file. Migrations create tables, constraints and indexes; ``migrate`` then
calls ``apply``, which runs the files that changed (Flyway calls these repeatable migrations).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import connection, transaction

KINDS = ("functions", "views", "triggers")
"""The folders, in the order of their dependencies. Within one folder of one app, files are applied
by name."""

CREATES = re.compile(
    r"^CREATE (?:OR REPLACE |CONSTRAINT )*"
    r"(?:(FUNCTION|VIEW) (\w+)|TRIGGER (\w+)\b.*?\bON (\w+))",
    re.MULTILINE | re.DOTALL,
)

# A dropped object counts as changed: a migration may drop a view to alter its table.
APPLIED = """
SELECT name, CASE split_part(name, ' ', 1)
    WHEN 'FUNCTION' THEN EXISTS (SELECT FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proname = split_part(name, ' ', 2))
    WHEN 'VIEW' THEN to_regclass(split_part(name, ' ', 2)) IS NOT NULL
    ELSE EXISTS (SELECT FROM pg_trigger WHERE tgname = split_part(name, ' ', 2)
        AND tgrelid = to_regclass(split_part(name, ' ', 4)))
    END, checksum
FROM schema_objects
"""
RECORD = """
INSERT INTO schema_objects (name, checksum) VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = now()
"""
CHECK_BODIES = """
SELECT CASE lanname WHEN 'sql' THEN fmgr_sql_validator(pg_proc.oid)
    WHEN 'plpgsql' THEN plpgsql_validator(pg_proc.oid) END
FROM pg_proc JOIN pg_language ON pg_language.oid = prolang
WHERE pronamespace = 'public'::regnamespace AND 'FUNCTION ' || proname = ANY(%s)
"""
SIGNATURES = """
SELECT oid::regprocedure::text FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND proname = %s
"""


@dataclass(frozen=True, slots=True)
class SqlFile:
    text: str

    @property
    def objects(self) -> list[str]:
        """The objects that it defines, as DROP names them: ``TRIGGER tasks_quorum ON tasks``."""
        matches = CREATES.finditer(self.text)
        return [f"{m[1]} {m[2]}" if m[1] else f"TRIGGER {m[3]} ON {m[4]}" for m in matches]

    @property
    def checksum(self) -> str:
        return sha256(self.text.encode()).hexdigest()


def read_files() -> Iterator[SqlFile]:
    """All files of all apps, in the order in which they are applied."""
    for kind in KINDS:
        for app in apps.get_app_configs():
            for path in sorted((Path(app.path) / "sql" / kind).glob("*.sql")):
                yield SqlFile(path.read_text())


def object_names() -> set[str]:
    """All objects that the files define, as DROP names them."""
    return {name for file in read_files() for name in file.objects}


def is_outdated() -> bool:
    """Whether the database differs from the files."""
    with connection.cursor() as cursor:
        return any(_compare(cursor, list(read_files())))


def apply(wanted: Iterable[SqlFile] | None = None) -> int:
    """Run the files that changed and drop the objects whose file is gone; return how many of both.

    Everything happens in one transaction, so that no trigger is ever missing. Raises DatabaseError
    if a file can't be run; then nothing has changed.
    """
    wanted = list(read_files() if wanted is None else wanted)
    with connection.cursor() as cursor:
        if not any(_compare(cursor, wanted)):
            return 0
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        # Two hosts may migrate at once: the second waits here and then finds nothing to do.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('schema_objects'))")
        changed, gone = _compare(cursor, wanted)
        # A function may call one whose file comes later, so all bodies are checked at the end.
        cursor.execute("SET LOCAL check_function_bodies = off")
        for file in changed:
            _run(cursor, file)
        cursor.execute("SET LOCAL check_function_bodies = on")
        cursor.execute(CHECK_BODIES, [[name for file in changed for name in file.objects]])
        # In reverse order of names, triggers and views go before the functions that they call.
        for name in sorted(gone, reverse=True):
            _drop(cursor, name)
            cursor.execute("DELETE FROM schema_objects WHERE name = %s", [name])
        return len(changed) + len(gone)


def _compare(cursor: Any, wanted: list[SqlFile]) -> tuple[list[SqlFile], list[str]]:
    """The files to run, and the objects whose file is gone."""
    cursor.execute(APPLIED)
    applied = {name: (exists, checksum) for name, exists, checksum in cursor.fetchall()}
    changed = [
        file
        for file in wanted
        if any(applied.get(name) != (True, file.checksum) for name in file.objects)
    ]
    return changed, list(applied.keys() - {name for file in wanted for name in file.objects})


def _run(cursor: Any, file: SqlFile) -> None:
    functions = [name.split()[1] for name in file.objects if name.startswith("FUNCTION")]
    before = {name: _signatures(cursor, name) for name in functions}
    for name in file.objects:
        if name.startswith("TRIGGER"):  # PostgreSQL can't replace a constraint trigger
            _drop(cursor, name)
    cursor.execute(file.text)
    for name, old in before.items():
        # With other arguments it is a new function, and CREATE OR REPLACE leaves the old one.
        if len(_signatures(cursor, name)) > len(old):
            for signature in old:
                cursor.execute(f"DROP FUNCTION {signature}")
    for name in file.objects:
        cursor.execute(RECORD, [name, file.checksum])


def _drop(cursor: Any, name: str) -> None:
    kind, _, which = name.partition(" ")
    cursor.execute(f"DROP {kind} IF EXISTS {which}")


def _signatures(cursor: Any, name: str) -> list[str]:
    cursor.execute(SIGNATURES, [name])
    return [signature for (signature,) in cursor.fetchall()]
