"""A dump that is restored elsewhere is the same trail, guards included."""

import shutil
import subprocess

import psycopg
import pytest
from psycopg import errors

from tests.database import database_url
from tests.factories import TaskFactory, approve_task

pytestmark = pytest.mark.skipif(not shutil.which("pg_restore"), reason="pg_restore is not on PATH")


@pytest.fixture
def elsewhere():
    """The URL of an empty database."""
    name = f"{database_url().rpartition('/')[2]}_restored"
    with psycopg.connect(database_url(superuser=True, name="postgres"), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        yield database_url(superuser=True, name=name)
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_a_restored_dump_is_whole_and_guarded(alice, bot, manage, elsewhere, tmp_path):
    approve_task(TaskFactory(agent=bot, data={"é": [1, 0.5, "\U0001f600"]}), by=alice)
    dump = tmp_path / "dump"
    here = database_url(superuser=True)
    for command in (
        ["pg_dump", "--format=custom", f"--file={dump}", here],
        ["pg_restore", "--exit-on-error", f"--dbname={elsewhere}", dump],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    process = manage("verify_audit", DATABASE_URL=elsewhere)
    said, _ = process.communicate()
    assert process.returncode == 0
    assert said.startswith("The trail is whole: ")
    with psycopg.connect(elsewhere) as restored, psycopg.connect(here) as original:
        every = "SELECT entry FROM audit_events ORDER BY position"
        assert restored.execute(every).fetchall() == original.execute(every).fetchall()
        with pytest.raises(errors.IntegrityConstraintViolation):
            restored.execute("DELETE FROM audit_events")
