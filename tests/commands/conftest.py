"""Old rows, tampering, and the commands as operators run them.

Nothing here outlives a test: commands run in this process or in one that ends with the test.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, models

from audit_app.models import Subject
from tests.database import database_url, without_guards
from tests.factories import restate

AGE_EVENTS = """
UPDATE audit_events SET entry = audit_entry(event_type, actor, actor_id, subject_type, subject_id,
    seq, from_state, to_state, role, trace_id, (entry::json -> 'metadata')::text, id,
    "timestamp" - %s)
WHERE subject_type = %s AND subject_id = %s
"""


@pytest.fixture
def tamper() -> Callable[..., int]:
    """Run a statement as a superuser whom no trigger stops; how many rows it touched."""

    def run(statement: str, *params: Any) -> int:
        with without_guards() as cursor:
            cursor.execute(statement, params)
            touched = int(cursor.rowcount)
        assert touched
        return touched

    return run


@pytest.fixture
def backdate() -> Callable[..., None]:
    """``backdate(session, days=8)``: the row and its events, as if it had all happened then."""

    def age(*subjects: Subject, **ago: int) -> None:
        back = timedelta(**ago)
        with without_guards() as cursor:
            for subject in subjects:
                moved = ", ".join(
                    f"{field.column} = {field.column} - %(back)s"
                    for field in subject._meta.concrete_fields
                    if isinstance(field, models.DateTimeField)
                )
                cursor.execute(
                    f"UPDATE {subject._meta.db_table} SET {moved} WHERE id = %(id)s",
                    {"back": back, "id": subject.pk},
                )
                cursor.execute(AGE_EVENTS, [back, subject.subject_type, subject.pk])
                times = [
                    f.column for f in subject._meta.fields if isinstance(f, models.DateTimeField)
                ]
                cursor.execute(
                    f"SELECT {', '.join(times)} FROM {subject._meta.db_table} WHERE id = %s",
                    [subject.pk],
                )
                now = dict(zip(times, cursor.fetchone(), strict=True))
                restate(cursor, type(subject), subject, now)

    return age


@pytest.fixture
def run() -> Callable[..., dict[str, Any]]:
    """The JSON that a command answers; the sentence is tested where it matters."""

    def command(name: str, *args: str) -> dict[str, Any]:
        return json.loads(run_for_output(name, *args, "--format", "json"))

    return command


def run_for_output(name: str, *args: str) -> str:
    """What a command writes to standard output."""
    out = io.StringIO()
    call_command(name, *args, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def expect_failure(name: str, *args: str) -> tuple[str, str]:
    """What a command that ends with a CommandError wrote before, and its sentence."""
    out = io.StringIO()
    with pytest.raises(CommandError) as refusal:
        call_command(name, *args, stdout=out, stderr=io.StringIO())
    assert refusal.value.returncode == 1
    return out.getvalue(), str(refusal.value)


@pytest.fixture
def elsewhere() -> Iterator["psycopg.Connection[Any]"]:
    """A connection to the same database, of somebody who may lock a table, in a transaction."""
    with psycopg.connect(database_url(superuser=True)) as other:
        yield other
        other.rollback()


@pytest.fixture
def manage() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """``manage("purge", DATABASE_URL=…)``: manage.py in a process of its own."""
    started = []

    def start(
        *args: str, stderr: int = subprocess.PIPE, **environment: str
    ) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "manage.py", *args],
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": database_url(), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until_something_waits_for(holder: "psycopg.Connection[Any]") -> None:
    """Return once another process waits for a lock that ``holder`` has."""
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))",
                [holder.info.backend_pid],
            )
            if cursor.rowcount:
                return
