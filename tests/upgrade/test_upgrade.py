"""An installation of version 0.1.0 becomes one of this version by ``migrate`` alone.

The dump is of a database in which that version's own operations did a bit of everything:
``pg_dump --inserts --no-owner --no-privileges`` of PostgreSQL 15. It stays as it is.
"""

import gzip
import re
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from approvals_app.decisions import operations
from approvals_app.models import Approval, Override, Vote
from audit_app import schema_objects
from audit_app.base.actors import Actor
from audit_app.live.notifier import notifier
from audit_app.models import Event
from sessions_app.models import Agent, Task
from sessions_app.tasks.operations import claim, complete
from tests.database import database_url
from tests.factories import TaskFactory

DUMP = Path(__file__).parent / "version_0_1_0.sql.gz"
GROWN = {"django_migrations", "django_content_type", "auth_permission"}
NEW = {
    "audit_checkpoints",
    "audit_cosignatures",
    "audit_log_epochs",
    "audit_log_leaves",
    "audit_log_tiles",
    "claims",
    "comments",
    "freezes",
    "gateway_calls",
    "gateway_upstreams",
    "passkey_uses",
    "passkeys",
    "person_aliases",
    "push_subscriptions",
    "schema_objects",
    "sign_in_sessions",
    "snoozes",
}
SHRUNK = {"procrastinate_jobs", "procrastinate_events"}
"""Without the jobs of deliveries, whose rows are the queue by now."""
RENAMED_MODELS = {"tailreader": "consumeroffset", "era": "epoch"}

# Everything that pg_dump would say of the schema, a line an object.
SCHEMA = """
WITH ours AS (
    SELECT oid, relname, relkind, relpersistence, reloptions FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'i', 'S')
)
SELECT format('%s %s %s %s %s', relkind, relname, relpersistence, reloptions,
    obj_description(oid, 'pg_class')) FROM ours
UNION ALL SELECT format('column %s %s.%s %s not null %s %s%s %s %s',
    row_number() OVER (PARTITION BY attrelid ORDER BY attnum), relname, attname,
    format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
    pg_get_expr(adbin, adrelid), col_description(ours.oid, attnum))
    FROM ours JOIN pg_attribute ON attrelid = ours.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE relkind IN ('r', 'v')
UNION ALL SELECT format('constraint %s %s %s', relname, conname, pg_get_constraintdef(con.oid))
    FROM ours JOIN pg_constraint AS con ON conrelid = ours.oid
UNION ALL SELECT pg_get_indexdef(oid) FROM ours WHERE relkind = 'i'
UNION ALL SELECT format('view %s %s', relname, pg_get_viewdef(oid)) FROM ours WHERE relkind = 'v'
UNION ALL SELECT format('%s enabled %s', pg_get_triggerdef(pg_trigger.oid), tgenabled)
    FROM ours JOIN pg_trigger ON tgrelid = ours.oid WHERE NOT tgisinternal
UNION ALL SELECT pg_get_functiondef(oid) || coalesce(obj_description(oid, 'pg_proc'), '')
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""

COLUMNS = """
SELECT table_name || '.' || column_name FROM information_schema.columns
WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""

pytestmark = pytest.mark.usefixtures("superuser")


@pytest.fixture
def restored_dump(superuser):
    """The restored dump: the database to which Django is connected until the end of the test."""
    here = connection.settings_dict["NAME"]
    name = f"{here}_upgraded"
    with psycopg.connect(database_url(name="postgres"), autocommit=True) as admin:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        admin.execute(f'CREATE DATABASE "{name}"')
        with psycopg.connect(database_url(name=name)) as restored:
            restored.execute(gzip.decompress(DUMP.read_bytes()).decode())
        be_connected_to(name)
        yield
        be_connected_to(here)
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def be_connected_to(name):
    notifier.stop()
    connection.close()
    connection.settings_dict["NAME"] = name
    ContentType.objects.clear_cache()


def query(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [value for (value,) in cursor.fetchall()]


def schema():
    """Without the casts and parentheses, which PostgreSQL moves when it reads its own dump, and
    without the NOT VALID of a constraint that another test of this database put back."""
    noise = r"::(character varying|text)(\[\])?|[()]| NOT VALID$"
    return {re.sub(noise, "", line) for line in query(SCHEMA)}


def columns():
    """The columns of each table, in their order."""
    named = query("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
    tables = {table: [] for table in named}
    for line in query(COLUMNS):
        table, _, column = line.partition(".")
        if table in tables:
            tables[table].append(f'"{column}"')
    return tables


def contents(tables):
    """The rows of ``tables``, in these columns, as text."""
    return {
        table: sorted(query(f"SELECT ROW({', '.join(names)})::text FROM {table}"))
        for table, names in tables.items()
    }


def human(name):
    return Actor.human(User.objects.get(username=name))


def approve(approval, name):
    return operations.approve(approval.pk, by=human(name), payload_digest=approval.payload_digest)


def test_every_row_is_kept(restored_dump):
    tables = columns()
    before = contents(tables)
    call_command("migrate", verbosity=0)
    after = contents(tables)

    assert columns().keys() - before.keys() == NEW
    for table, rows in before.items():
        if table in GROWN:
            assert {_with_new_names(row) for row in rows} <= set(after[table])
        elif table in SHRUNK:
            assert after[table]
            assert set(after[table]) < set(rows)
        else:
            assert after[table] == rows, table
    obsolete = {row for row in before["procrastinate_jobs"] if ",deliver_webhook," in row}
    assert {*before["procrastinate_jobs"]} - {*after["procrastinate_jobs"]} == obsolete
    assert {table for table, rows in before.items() if not rows} <= UNUSED
    call_command("verify_audit")


def _with_new_names(row):
    """A row of Django's own tables, which name models, after the models' renaming."""
    return re.sub(r"\b(tailreader|era)\b", lambda match: RENAMED_MODELS[match[0]], row)


UNUSED = {
    *(f"axes_access{kind}" for kind in ("attempt", "attemptexpiration", "failurelog", "log")),
    *("auth_group_permissions", "django_admin_log", "django_session", "sign_in_identities"),
    *("otp_static_staticdevice", "otp_static_statictoken", "otp_totp_totpdevice"),
    *("procrastinate_periodic_defers", "procrastinate_workers", "trail_eras"),
}
"""Tables of which the dump has no row; every other has some."""


def test_the_schema_is_that_of_a_new_installation(superuser, request):
    fresh = schema()
    request.getfixturevalue("restored_dump")
    assert schema() != fresh
    call_command("migrate", verbosity=0)
    assert schema() == fresh
    call_command("migrate", check_unapplied=True)
    assert schema_objects.apply() == 0


def test_work_goes_on(restored_dump):
    call_command("migrate", verbosity=0)
    waiting = Approval.objects.get(task__description="Waits for one.")
    assert approve(waiting, "alice").task.status == "approved"
    payer = Agent.objects.get(name="payer").as_actor()
    claim(waiting.task_id, by=payer, lease=timedelta(minutes=1))
    assert complete(waiting.task_id, by=payer, result={"paid": True}).status == "completed"

    half = Approval.objects.get(task__description="A vote of two is cast.", approver_role="finance")
    assert approve(half, "bob").status == "approved"

    # The dump has the first keys of the factory.
    new = TaskFactory(agent=Agent.objects.get(name="bot"), idempotency_key="after the upgrade")
    assert new.status == "awaiting_approval"
    call_command("verify_audit")


def test_the_rules_hold(restored_dump):
    call_command("migrate", verbosity=0)
    for statement, why in {
        "UPDATE tasks SET version = version + 1": "without its audit event",
        "UPDATE tasks SET to_role = 'legal'": "is refused",
        "DELETE FROM audit_events": "is refused",
        "DELETE FROM votes": "without its audit event",
    }.items():
        with (
            pytest.raises(IntegrityError, match=why),
            transaction.atomic(),
            connection.cursor() as c,
        ):
            c.execute(statement)


def test_the_dump_has_a_bit_of_everything(restored_dump):
    call_command("migrate", verbosity=0)
    assert {task.status for task in Task.objects.all()} == set(Task.Status) - {"expired"}
    assert {vote.status for vote in Vote.objects.all()} == set(Vote.Status)
    assert {override.status for override in Override.objects.all()} == {"open", "upheld"}
    assert Event.objects.count() > 100


def test_an_installation_that_is_between_two_versions_is_refused(restored_dump):
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE name = '0010_planned_once'")
    with pytest.raises(CommandError, match=r"audit_app\.0010_planned_once"):
        call_command("migrate", verbosity=0)
    assert not query("SELECT to_regclass('schema_objects')::text")[0]
