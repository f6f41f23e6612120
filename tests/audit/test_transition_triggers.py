"""The database refuses, at commit and through every door, a change that the trail does not tell."""

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from uuid import uuid4

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from approvals_app.models import Approval, Vote
from audit_app.base.actors import Actor
from audit_app.base.events import EventType
from audit_app.models import Event
from audit_app.trail.recording import create, perform
from sessions_app import agents
from sessions_app.models import AgentSession, Task
from tests.factories import OPS, AgentFactory, SessionFactory, TaskFactory, session_in, the_approval

ENTRY = """
SELECT audit_entry(event_type => %(event_type)s, actor => 'human:mallory', actor_id => '1',
    subject_type => %(kind)s, subject_id => %(id)s, seq => %(seq)s, from_state => %(before)s,
    to_state => %(after)s, role => NULL, trace_id => NULL, metadata => %(metadata)s)
"""
WITHOUT = "without its audit event"

# Nobody is above the guard: a superuser who leaves the triggers on is refused as well.
pytestmark = pytest.mark.usefixtures("superuser")


@pytest.fixture
def task(bot):
    return TaskFactory(agent=bot)


def rows():
    """Everything that the guard guards."""
    with connection.cursor() as cursor:
        found = {}
        for table in ("agents", "sessions", "tasks", "approvals", "audit_events"):
            cursor.execute(f"SELECT to_jsonb(r) FROM {table} AS r ORDER BY id")
            found[table] = cursor.fetchall()
        return found


@contextmanager
def expect_refusal(why, error=IntegrityError):
    """What is done inside commits nothing, since the database says ``why``."""
    before = rows()
    with pytest.raises(error, match=why), transaction.atomic():
        yield
    assert rows() == before


def run(statement, *params):
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


def entry(subject, seq, before=None, after=None, event_type="task.approved", metadata="{}"):
    given = {
        "event_type": event_type,
        "kind": subject.subject_type,
        "id": subject.pk,
        "seq": seq,
        "before": before,
        "after": after,
        "metadata": metadata,
    }
    with connection.cursor() as cursor:
        cursor.execute(ENTRY, given)
        return cursor.fetchone()[0]


def write(text):
    run("INSERT INTO audit_events (entry) VALUES (%s)", text)


REJECTED = ("awaiting_approval", "rejected", "task.rejected")


def reject_by_hand(task):
    run("UPDATE public.tasks SET status = 'rejected', version = version + 1 WHERE id = %s", task.pk)


def approve_by_hand(task):
    run("UPDATE tasks SET status = 'approved', version = version + 1 WHERE id = %s", task.pk)


def test_a_change_with_its_event_is_accepted(task):
    """What the refusals below are measured against."""
    with transaction.atomic():
        perform(task.approvals.get().withdraw, by=OPS)
        reject_by_hand(task)
        write(entry(task, task.version + 1, *REJECTED))
    assert Task.objects.get(pk=task.pk).status == "rejected"


def test_an_event_of_another_kind_makes_no_change(task):
    with expect_refusal("can not go from awaiting_approval to rejected by task.cancelled"):
        reject_by_hand(task)
        write(entry(task, task.version + 1, "awaiting_approval", "rejected", "task.cancelled"))
    with expect_refusal("by agent.noted"):
        reject_by_hand(task)
        write(entry(task, task.version + 1, "awaiting_approval", "rejected", "agent.noted"))


def test_a_task_is_approved_by_all_of_its_approvals_or_not_at_all(task):
    with expect_refusal("was approved without all of its approvals"):
        approve_by_hand(task)
        write(entry(task, task.version + 1, "awaiting_approval", "approved"))


def test_nobody_decides_in_anothers_name(task, alice, bob):
    approval = the_approval(task)
    another = bob if alice.pk == 1 else alice  # the event is by user 1
    by = Actor.human(another)
    vote = Vote(
        approval=approval,
        voter=another,
        seat_of=another,
        choice="yes",
        payload_digest=approval.payload_digest,
        role="finance",
        trace_id=approval.trace_id,
    )
    with expect_refusal("decided by somebody else than its event says"):
        create(vote, EventType.VOTE_CAST, by=by)
        run(
            """UPDATE approvals SET status = 'approved', version = version + 1, decided_by_id = %s,
            decision_at = clock_timestamp(), updated_at = clock_timestamp() WHERE id = %s""",
            another.pk,
            approval.pk,
        )
        write(entry(approval, 2, "pending", "approved", "approval.approved"))


@pytest.mark.parametrize("ago", ["1 minute", "6 years", "-1 minute"])
def test_an_event_is_written_when_it_happens(task, ago):
    backdated = """SELECT audit_entry(event_type => 'agent.noted', actor => 'agent:x',
        actor_id => 'x', subject_type => 'note', subject_id => gen_random_uuid(), seq => 1,
        from_state => NULL, to_state => NULL, role => NULL, trace_id => NULL, metadata => '{}',
        at => clock_timestamp() - %s::interval)"""
    with expect_refusal("written when it happens"):
        run(f"INSERT INTO audit_events (entry) {backdated}", ago)


@pytest.mark.parametrize(
    ("kind", "event_type", "after"),
    [
        ("note", "approval.approved", None),
        ("note", "agent.noted", "approved"),
        ("refusal", "agent.noted", None),
        ("disclosure", "approval.approved", None),
        ("disclosure", "approval.sensitive_shown", "approved"),
        ("wish", "agent.noted", None),
    ],
)
def test_an_event_of_no_row_is_a_note_a_refusal_or_a_disclosure(kind, event_type, after):
    with expect_refusal("audit_events_of_a_known_kind"):
        run(
            """INSERT INTO audit_events (entry) SELECT audit_entry(event_type => %s,
            actor => 'human:mallory', actor_id => '1', subject_type => %s,
            subject_id => gen_random_uuid(), seq => 1, from_state => NULL, to_state => %s,
            role => NULL, trace_id => NULL, metadata => '{}')""",
            event_type,
            kind,
            after,
        )


def test_what_never_was_is_not_purged(task):
    with expect_refusal("a first event has no state before it"):
        write(entry(Task(id=uuid4()), 1, "completed", None, "task.purged"))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO agent_keys (id, agent_id, prefix, hash, created_at) "
        "SELECT gen_random_uuid(), id, 'ork_x', repeat('a', 64), now() FROM agents",
        "UPDATE agent_keys SET revoked_at = clock_timestamp()",
    ],
)
def test_a_key_is_issued_and_revoked_with_its_event(bot, statement):
    with expect_refusal("a key of agent .* changed without its audit event"):
        run(statement)


@pytest.mark.parametrize("column", ["hash = repeat('b', 64)", "revoked_at = NULL"])
def test_a_key_is_not_another_and_a_revoked_one_stays_so(bot, column):
    agents.rotate_key(bot.pk, by=OPS)
    with expect_refusal("UPDATE of agent_keys is refused"):
        run(f"UPDATE agent_keys SET {column} WHERE revoked_at IS NOT NULL")


def test_a_temporary_table_does_not_stand_in_for_the_trail(task):
    with expect_refusal(WITHOUT):
        run("CREATE TEMPORARY TABLE audit_events AS SELECT * FROM audit_events")
        run("CREATE TEMPORARY TABLE tasks AS SELECT * FROM tasks")
        reject_by_hand(task)
        run(
            """INSERT INTO pg_temp.audit_events (event_type, subject_type, subject_id, seq, xid,
            from_state, to_state) VALUES ('task.rejected', 'task', %s, 2, pg_current_xact_id(),
            'awaiting_approval', 'rejected')""",
            task.pk,
        )


def test_the_orm_can_not_update_past_the_trail(task):
    with expect_refusal(WITHOUT):
        Task.objects.update(status="approved")


def test_the_orm_can_not_update_past_the_trail_without_a_transaction_either(task):
    before = rows()
    with pytest.raises(IntegrityError, match=WITHOUT):
        Task.objects.filter(pk=task.pk).update(status="approved")
    assert rows() == before


def test_the_orm_can_not_insert_past_the_trail(bot):
    now = SessionFactory(agent=bot).created_at
    given = {"agent": bot, "role": "x", "created_at": now, "updated_at": now, "trace_id": uuid4()}
    with expect_refusal(WITHOUT):
        AgentSession.objects.bulk_create([AgentSession(**given, version=1) for _ in range(2)])


def test_a_raw_update_is_refused(task):
    with expect_refusal(WITHOUT):
        run("UPDATE tasks SET status = 'approved' WHERE id = %s", task.pk)


def test_a_raw_update_of_anything_else_is_refused(task):
    with expect_refusal(WITHOUT):
        run("UPDATE tasks SET result = '1' WHERE id = %s", task.pk)


def test_a_raised_version_is_not_an_event(task):
    with expect_refusal(WITHOUT):
        approve_by_hand(task)


def test_a_skipped_version_is_refused(task):
    with expect_refusal(WITHOUT):
        run("UPDATE tasks SET status = 'approved', version = version + 2 WHERE id = %s", task.pk)
        write(entry(task, task.version + 1, "awaiting_approval", "approved"))


def test_another_subjects_event_does_not_count(task, bot):
    other = TaskFactory(agent=bot)
    with expect_refusal(WITHOUT):
        approve_by_hand(task)
        write(entry(other, other.version + 1, "awaiting_approval", "approved"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("awaiting_approval", "rejected"),
        ("pending", "approved"),
        (None, None),
        (None, "approved"),
        ("awaiting_approval", None),
    ],
)
def test_an_event_of_another_change_does_not_count(task, before, after):
    with expect_refusal(WITHOUT):
        approve_by_hand(task)
        write(entry(task, task.version + 1, before, after))


def test_an_event_of_an_earlier_transaction_does_not_count(task):
    with transaction.atomic():
        run("SET LOCAL session_replication_role = replica")  # else the event alone is refused
        write(entry(task, task.version + 1, "awaiting_approval", "approved"))
    with expect_refusal(WITHOUT):
        approve_by_hand(task)


@pytest.mark.parametrize(
    ("before", "after"), [("completed", "active"), ("failed", "pending"), ("pending", "completed")]
)
def test_an_illegal_transition_is_refused_even_with_its_event(bot, before, after):
    session = session_in(before, bot)
    with expect_refusal(f"can not go from {before} to {after}"):
        run(
            "UPDATE sessions SET status = %s, version = version + 1 WHERE id = %s",
            after,
            session.pk,
        )
        write(entry(session, session.version + 1, before, after, "session.activated"))


def test_a_row_may_not_begin_in_the_middle(bot):
    session = SessionFactory(agent=bot)
    now = session.created_at
    begun = AgentSession(
        agent=bot, role="x", status="completed", created_at=now, updated_at=now, trace_id=uuid4()
    )
    begun.version = 1
    with expect_refusal("can not go from nothing to completed"):
        write(entry(begun, 1, None, "completed", "session.opened"))
        begun.save(force_insert=True)


def test_a_raw_insert_is_refused(task):
    with expect_refusal(WITHOUT):
        run(
            "INSERT INTO sessions (id, version, created_at, updated_at, agent_id, role, status,"
            " metadata, trace_id) SELECT gen_random_uuid(), 1, now(), now(), agent_id, 'x',"
            " 'pending', '{}', trace_id FROM tasks"
        )


@pytest.mark.parametrize("state", ["completed", "expired"])
def test_a_delete_without_its_event_is_refused(bot, state):
    session = session_in(state, bot)
    with expect_refusal(WITHOUT):
        run("DELETE FROM sessions WHERE id = %s", session.pk)


def test_a_finished_row_may_be_purged_with_its_event(bot):
    session = session_in("completed", bot)
    with transaction.atomic():
        run("DELETE FROM sessions WHERE id = %s", session.pk)
        write(entry(session, session.version + 1, "completed", None, "session.purged"))
    assert not AgentSession.objects.exists()


def test_an_open_row_may_not_be_purged_even_with_its_event(bot):
    session = session_in("active", bot)
    with expect_refusal("can not go from active to nothing"):
        run("DELETE FROM sessions WHERE id = %s", session.pk)
        write(entry(session, session.version + 1, "active", None, "session.purged"))


@pytest.mark.parametrize("table", ["agents", "sessions", "tasks", "approvals", "audit_events"])
def test_nothing_can_be_truncated(task, table):
    with expect_refusal(f"TRUNCATE of {table} is refused"):
        run(f"TRUNCATE {table} CASCADE")


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("UPDATE", "UPDATE audit_events SET entry = replace(entry, 'bot', 'bob')"),
        ("UPDATE", "UPDATE audit_events SET xid = '1'"),
        ("DELETE", "DELETE FROM audit_events"),
    ],
)
def test_what_happened_stays(task, what, statement):
    with expect_refusal(f"{what} of audit_events is refused"):
        run(statement)


def test_the_orm_can_not_change_what_happened(task):
    with expect_refusal("DELETE of audit_events is refused"):
        Event.objects.all().delete()
    with expect_refusal("UPDATE of audit_events is refused"):
        Event.objects.update(entry="{}")


def test_an_event_may_not_leave_a_gap(task):
    with expect_refusal("leaves a gap"):
        write(entry(task, task.version + 2, event_type="task.released"))


def test_an_event_may_not_be_written_twice(task):
    with expect_refusal("audit_events_subject_seq"):
        write(entry(task, task.version, event_type="task.released"))


@pytest.mark.parametrize("xid", ["1", "99999999999"])
def test_an_event_may_not_claim_another_transaction(task, xid):
    with expect_refusal("belongs to the transaction"):
        text = entry(task, task.version + 1)
        run("INSERT INTO audit_events (entry, xid) VALUES (%s, %s::xid8)", text, xid)


def test_an_event_may_not_choose_its_position(task):
    with expect_refusal("position", DatabaseError):
        text = entry(task, task.version + 1)
        run("INSERT INTO audit_events (entry, position) VALUES (%s, 1)", text)


def reorder_members(text):
    return json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":"))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('":', '": '),
        lambda text: text.replace(",", ", "),
        lambda text: text + " ",
        reorder_members,
        lambda text: text.replace('{"actor"', '{"a":1,"actor"', 1),
        lambda text: text[:-1] + ',"zzz":1}',
        lambda text: text.replace('"actor":', '"actor":"human:alice","actor":', 1),
        lambda text: text.replace("mallory", "m\\u0061llory"),
    ],
    ids=["colons", "commas", "trailing", "order", "first", "last", "twice", "escaped"],
)
def test_an_event_is_canonical_text_and_nothing_else(task, change):
    with expect_refusal("audit_events_entry_is_its_columns"):
        write(change(entry(task, task.version + 1)))


@pytest.mark.parametrize("name", ["task.invented", "agent.", "agent.Shout", "approval", ""])
def test_an_event_has_a_name_that_is_known(task, name):
    with expect_refusal("audit_events_known_event"):
        write(entry(task, task.version + 1, event_type=name))


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ("payload = '{}'", "changes by one revision, while it waits"),
        ("data = '{\"amount\": 1}'", "tasks_payload_is_its_columns"),
        ("description = 'Nothing to see.'", "tasks_payload_is_its_columns"),
        ("to_role = 'sre'", "UPDATE of tasks is refused"),
        ("agent_id = gen_random_uuid()", "UPDATE of tasks is refused"),
        ("idempotency_key = 'another'", "UPDATE of tasks is refused"),
    ],
)
def test_what_was_asked_stays_even_with_an_event(task, columns, why):
    with expect_refusal(why):
        run(f"UPDATE tasks SET {columns}, version = version + 1 WHERE id = %s", task.pk)
        write(entry(task, task.version + 1))


def test_the_digest_is_the_payloads_and_can_not_be_set(task):
    with expect_refusal("payload_digest", DatabaseError):
        run("UPDATE tasks SET payload_digest = %s WHERE id = %s", "0" * 64, task.pk)


def test_an_approval_is_of_its_own_tasks_payload(task, bot):
    other = TaskFactory(agent=bot, description="Something else.")
    approval = the_approval(task)
    forged = Approval(
        task=task,
        approver_role="sre",
        payload_digest=the_approval(other).payload_digest,
        expires_at=approval.expires_at,
        trace_id=task.trace_id,
    )
    with expect_refusal("is of another payload than its task has"):
        create(forged, EventType.APPROVAL_REQUESTED, by=OPS)


def test_an_approvals_digest_can_not_be_changed(task, bot):
    with expect_refusal("UPDATE of approvals is refused"):
        run("UPDATE approvals SET payload_digest = %s, version = version + 1", "0" * 64)


@pytest.mark.skipif(not shutil.which("psql"), reason="psql is not on PATH")
def test_psql_meets_the_same_rule(task):
    said = psql("UPDATE tasks SET status = 'approved'")
    assert said.returncode != 0
    assert WITHOUT in said.stderr
    assert Task.objects.get(pk=task.pk).status == "awaiting_approval"


@pytest.mark.skipif(not shutil.which("psql"), reason="psql is not on PATH")
def test_psql_can_not_postpone_the_rule_beyond_the_commit(task):
    said = psql("BEGIN; UPDATE tasks SET status = 'approved'; SET CONSTRAINTS ALL DEFERRED; COMMIT")
    assert said.returncode != 0
    assert WITHOUT in said.stderr
    assert Task.objects.get(pk=task.pk).status == "awaiting_approval"


def psql(statement):
    place = connection.settings_dict
    environment = {
        "PATH": os.environ["PATH"],
        "PGHOST": place["HOST"],
        "PGPORT": str(place["PORT"]),
        "PGUSER": place["USER"],
        "PGPASSWORD": place["PASSWORD"],
        "PGDATABASE": place["NAME"],
    }
    command = ["psql", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--command", statement]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


def test_agents_are_guarded_too():
    agent = AgentFactory()
    with expect_refusal(WITHOUT):
        run("UPDATE agents SET roles = '{finance}' WHERE id = %s", agent.pk)


def test_an_event_without_its_change_is_refused(task):
    """A forged yes: nothing else is changed, so that nobody would notice."""
    with expect_refusal("a change that was not made"):
        write(entry(task, task.version + 1, "awaiting_approval", "approved"))


def test_a_purge_that_is_only_claimed_is_refused(task):
    with expect_refusal("a change that was not made"):
        write(entry(task, task.version + 1, "awaiting_approval", None))
