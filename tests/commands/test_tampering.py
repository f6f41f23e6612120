"""What a superuser changes behind the trail's back, and what finds it without any seal.

The world is made once. Each tampering happens in a transaction that is checked and rolled back.
"""

from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.utils import timezone

from approvals_app.decisions import delegations, operations
from approvals_app.decisions.break_glass import break_glass
from audit_app.base.actors import Actor
from audit_app.trail.verification import Verification, check_database
from sessions_app.agents import revoke_agent, rotate_key
from sessions_app.tasks import operations as tasks
from tests.database import become_the_application, become_the_superuser, empty
from tests.factories import (
    OPS,
    AgentFactory,
    ReviewerFactory,
    SessionFactory,
    TaskFactory,
    policy,
    the_approval,
)


@pytest.fixture(scope="module", autouse=True)
def database(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        become_the_superuser()
        build_world()
        yield
        become_the_application()
        empty()


def build_world():
    """A refund that two approved and payer paid; one that waits with one yes; one that was
    rejected; one under review since dave broke the glass; one that a policy let pass."""
    alice, bob, dave = (
        ReviewerFactory(username=name, roles=["finance"]) for name in ("alice", "bob", "dave")
    )
    dave.user_permissions.add(Permission.objects.get(codename="break_glass"))
    policy("two", when={"task_type": "large"}, asks="2 finance")
    policy("small", then="approve", when={"task_type": "small"})
    bot = AgentFactory(name="bot", roles=["support-agent"])
    payer = AgentFactory(name="payer", roles=["finance"])
    retired = AgentFactory(name="retired")
    rotate_key(retired.pk, by=OPS)
    revoke_agent(retired.pk, by=OPS)
    session = SessionFactory(agent=bot, task_id="7")

    paid = TaskFactory(agent=bot, task_type="large", session_id=session.pk, on_behalf_of="eve")
    for person in (alice, bob):
        approve(paid, person)
    tasks.claim(paid.pk, by=payer.as_actor(), lease=timedelta(minutes=5))
    tasks.complete(paid.pk, by=payer.as_actor(), result={"paid": 42.5})
    waiting = TaskFactory(agent=bot, task_type="large")
    approve(waiting, alice)
    revised = TaskFactory(agent=bot)
    tasks.revise_task(revised.pk, by=bot.as_actor(), data={"amount": "9.00"})
    rejected = TaskFactory(agent=bot)
    approval = the_approval(rejected)
    operations.reject(
        approval.pk, by=Actor.human(alice), payload_digest=approval.payload_digest, notes="No."
    )
    alone = TaskFactory(agent=bot)
    glass = {"payload_digest": alone.payload_digest, "reason": "Fire."}
    break_glass(the_approval(alone).pk, by=Actor.human(dave), **glass)
    TaskFactory(agent=bot, task_type="small")
    now = timezone.now()
    delegations.grant_delegation(
        by=Actor.human(alice), to="dave", starts_at=now, ends_at=now + timedelta(days=2)
    )


def approve(task, person):
    approval = the_approval(task)
    operations.approve(approval.pk, by=Actor.human(person), payload_digest=approval.payload_digest)


@contextmanager
def undone():
    """A transaction of a superuser whom no trigger stops; nothing of it stays."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield cursor
        transaction.set_rollback(True)


def findings():
    verification = Verification()
    check_database(verification, lambda _: None)
    return [str(finding) for finding in verification.findings]


def test_what_nobody_touched_is_whole():
    with undone():
        assert findings() == []


A_VOTE = "WHERE id = (SELECT id FROM votes WHERE choice = 'yes' ORDER BY created_at LIMIT 1)"
A_NO = "WHERE choice = 'no'"
PAID = "WHERE status = 'completed'"
OF_PAID = "WHERE task_id = (SELECT id FROM tasks WHERE status = 'completed')"
WAITS = """WHERE status = 'pending' AND needed = 2"""
ANOTHER = "(SELECT id FROM auth_user WHERE username = 'dave')"


def rewrite(event_type, before, after):
    """An entry changed in place, as one text."""
    return f"""
        UPDATE audit_events SET entry = replace(entry, '{before}', '{after}')
        WHERE position = (SELECT min(position) FROM audit_events
            WHERE event_type = '{event_type}' AND entry LIKE '%{before}%')"""


ROWS = {
    "a vote's choice": (f"UPDATE votes SET choice = 'no' {A_VOTE}", "choice"),
    "a refusal turned into a yes": (f"UPDATE votes SET choice = 'yes' {A_NO}", "choice"),
    "a vote's voter": (f"UPDATE votes SET voter_id = {ANOTHER} {A_VOTE}", "author"),
    "a vote's seat": (f"UPDATE votes SET seat_of_id = {ANOTHER} {A_VOTE}", "seat_of_id"),
    "a vote's notes": (f"UPDATE votes SET notes = 'Sure.' {A_VOTE}", "notes"),
    "a vote's answer": (f"UPDATE votes SET answer = '1' {A_VOTE}", "answer"),
    "a vote's payload": (f"UPDATE votes SET payload_digest = repeat('0', 64) {A_VOTE}", "digest"),
    "a vote's group": (f"UPDATE votes SET role = 'legal' {A_VOTE}", "role"),
    "a vote's approval": (
        "UPDATE votes SET approval_id = "
        f"(SELECT id FROM approvals WHERE status = 'pending' AND revision = 2) {A_NO}",
        "payload_digest is not that of its approval",
    ),
    "votes removed": (f"DELETE FROM votes {A_VOTE}", "the row is not there"),
    "how many must approve": (f"UPDATE approvals SET needed = 1 {WAITS}", "needed"),
    "how many reject": (f"UPDATE approvals SET deny_threshold = 5 {WAITS}", "deny_threshold"),
    "who is asked": (f"UPDATE approvals SET approver_role = 'legal' {WAITS}", "role"),
    "until when": (
        f"UPDATE approvals SET expires_at = expires_at + interval '9 days' {WAITS}",
        "expires_at",
    ),
    "what silence means": (
        "UPDATE approvals SET at_deadline = "
        f"""'{{"escalate": [], "then": "approve_without_a_human"}}' {WAITS}""",
        "at_deadline",
    ),
    "an approval's task": (
        f"UPDATE approvals SET task_id = (SELECT id FROM tasks {PAID}) {WAITS}",
        "task_id",
    ),
    "an approval's revision": (f"UPDATE approvals SET revision = 7 {WAITS}", "revision"),
    "an approval's reason": (f"UPDATE approvals SET reason = 'Routine.' {WAITS}", "reason"),
    "an approval's notes": (f"UPDATE approvals SET notes = 'Fine.' {OF_PAID}", "notes"),
    "an approval's decider": (
        f"UPDATE approvals SET decided_by_id = {ANOTHER} {OF_PAID}",
        "decided",
    ),
    "an approval's state": (f"UPDATE approvals SET status = 'withdrawn' {WAITS}", "status"),
    "a task's asker": (
        f"UPDATE tasks SET agent_id = (SELECT id FROM agents WHERE name = 'payer') {PAID}",
        "author",
    ),
    "on whose behalf": (f"UPDATE tasks SET on_behalf_of = '' {PAID}", "on_behalf_of"),
    "a task's verdict": (f"UPDATE tasks SET verdict = 'approve' {PAID}", "verdict"),
    "a task's policy": (f"UPDATE tasks SET policy = 'small' {PAID}", "policy"),
    "a task's policy version": (f"UPDATE tasks SET policy_version = 9 {PAID}", "policy_version"),
    "why a task was judged so": (f"UPDATE tasks SET why = 'Routine.' {PAID}", "why"),
    "until when a yes may be used": (
        f"UPDATE tasks SET approved_until = approved_until + interval '9 days' {PAID}",
        "approved_until",
    ),
    "a task's role": (
        "UPDATE tasks SET to_role = 'sre', payload = "
        f"""replace(payload, '"to_role":"finance"', '"to_role":"sre"') {PAID}""",
        "payload",
    ),
    "who held the task": (
        f"UPDATE tasks SET claimed_by_id = agent_id {PAID}",
        "another agent holds it",
    ),
    "a task's payload": (
        "UPDATE tasks SET description = 'Refund 99.50 EUR.', payload = "
        f"regexp_replace(payload, 'Refund 42.50[^\"]*', 'Refund 99.50 EUR.') {PAID}",
        "payload",
    ),
    "a task's trace": (f"UPDATE tasks SET trace_id = gen_random_uuid() {PAID}", "trace"),
    "an earlier revision": (
        "UPDATE task_revisions SET payload = replace(payload, '42.50', '1.50')",
        "a revision of it was replaced by no event",
    ),
    "a session's agent": (
        "UPDATE sessions SET agent_id = (SELECT id FROM agents WHERE name = 'payer')",
        "author",
    ),
    "a session's role": ("UPDATE sessions SET role = 'root'", "role"),
    "an agent's owner": (f"UPDATE agents SET owner_id = {ANOTHER} WHERE name = 'bot'", "owner_id"),
    "an agent's roles": ("UPDATE agents SET roles = '{root}' WHERE name = 'bot'", "roles"),
    "an agent's name": ("UPDATE agents SET name = 'robot' WHERE name = 'bot'", "name"),
    "an agent's subject": ("UPDATE agents SET subject = 'x' WHERE name = 'bot'", "subject"),
    "a revoked agent that works again": (
        "UPDATE agents SET status = 'active' WHERE name = 'retired'",
        "status",
    ),
    "a revoked key that is accepted": (
        "UPDATE agent_keys SET revoked_at = NULL WHERE revoked_at IS NOT NULL",
        "a key of it that was revoked is accepted",
    ),
    "a key that nobody issued": (
        "INSERT INTO agent_keys (id, agent_id, prefix, hash, created_at) "
        "SELECT gen_random_uuid(), id, 'orc_other', repeat('a', 64), now() FROM agents LIMIT 1",
        "it has a key that no event issued",
    ),
    "a second key under one event": (
        "INSERT INTO agent_keys (id, agent_id, prefix, hash, created_at) "
        "SELECT gen_random_uuid(), agent_id, prefix, repeat('a', 64), now() FROM agent_keys "
        "LIMIT 1",
        "it has a key that no event issued",
    ),
    "a policy's rule": (
        """UPDATE approval_policies SET rule = rule || '{"then": "approve"}'
        WHERE name = 'two'""",
        "rule",
    ),
    "a policy's priority": ("UPDATE approval_policies SET priority = 1000000", "priority"),
    "a policy taken out of force": (
        "UPDATE approval_policies SET status = 'retired' WHERE name = 'two'",
        "status",
    ),
    "a delegation's end": (
        "UPDATE delegations SET ends_at = ends_at + interval '1 year'",
        "ends_at",
    ),
    "whose seat a delegation gives": (
        "UPDATE delegations SET delegator_id = (SELECT id FROM auth_user WHERE username = 'bob')",
        "author",
    ),
    "who broke the glass": (
        "UPDATE overrides SET opened_by_id = (SELECT id FROM auth_user WHERE username = 'bob')",
        "author",
    ),
    "why the glass was broken": ("UPDATE overrides SET reason = 'Planned.'", "reason"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_that_was_changed(name):
    statement, expected = ROWS[name]
    with undone() as cursor:
        cursor.execute(statement)
        found = findings()
    assert any(expected in line for line in found), found


EVENTS = {
    "what a vote said": ("vote.cast", '"choice":"yes"', '"choice":"no"'),
    "who voted": ("vote.cast", '"actor":"human:alice"', '"actor":"system:alice"'),
    "how many were asked": ("approval.requested", '"needed":2', '"needed":1'),
    "who was asked": ("approval.requested", '"role":"finance"', '"role":"legal"'),
    "who routed": ("task.routed", '"actor":"agent:bot"', '"actor":"agent:eve"'),
    "the policy": ("task.routed", '"policy":"two"', '"policy":"one"'),
    "an owner": ("identity.created", '"owner_id":null', '"owner_id":1'),
    "a rule": ("policy.created", '"role":"finance"', '"role":"legal"'),
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_entry_that_was_changed(name):
    with undone() as cursor:
        cursor.execute(rewrite(*EVENTS[name]))
        assert cursor.rowcount == 1
        found = findings()
    assert found


GUARDS = {
    "an emptied function": """
        CREATE OR REPLACE FUNCTION approvals_quorum() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RETURN NULL; END $$""",
    "a trigger that never fires": """
        DROP TRIGGER votes_open ON votes;
        CREATE TRIGGER votes_open BEFORE UPDATE ON votes FOR EACH ROW WHEN (false)
        EXECUTE FUNCTION votes_open()""",
    "a trigger switched off": "ALTER TABLE votes DISABLE TRIGGER votes_voice",
    "a dropped trigger": "DROP TRIGGER audit_events_append_only ON audit_events",
    "a trigger of somebody's own": """
        CREATE FUNCTION pg_temp.skip() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER a_skip BEFORE INSERT ON votes FOR EACH ROW EXECUTE FUNCTION
        pg_temp.skip()""",
    "a dropped check": """ALTER TABLE audit_events DROP CONSTRAINT audit_events_known_event""",
    "a dropped unique key": """ALTER TABLE audit_events DROP CONSTRAINT audit_events_subject_seq""",
    "a foreign key switched off": "ALTER TABLE votes DISABLE TRIGGER ALL",
    "a rule": "CREATE RULE quiet AS ON UPDATE TO votes DO INSTEAD NOTHING",
    "a column that may be empty": "ALTER TABLE votes ALTER COLUMN voter_id DROP NOT NULL",
    "a right to change events": "GRANT UPDATE ON audit_events TO PUBLIC",
    "a right to empty": "GRANT TRUNCATE ON votes TO PUBLIC",
    "a role that no trigger stops": """
        ALTER ROLE CURRENT_USER SET session_replication_role = 'replica'""",
    "an event trigger": """
        CREATE FUNCTION pg_temp.watch() RETURNS event_trigger LANGUAGE plpgsql AS
        $$ BEGIN END $$;
        CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION pg_temp.watch()""",
}


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_that_was_weakened(name):
    with undone() as cursor:
        cursor.execute(GUARDS[name])
        found = findings()
    assert found


def test_decisions_that_nobody_took():
    """Row and events agree; only the votes are missing."""
    with undone() as cursor:
        cursor.execute("DELETE FROM audit_events WHERE subject_type = 'vote'; DELETE FROM votes")
        found = findings()
    assert sum("without the votes for it" in line for line in found) == 2, found


def test_an_entry_that_cant_be_compared():
    with undone() as cursor:
        cursor.execute(rewrite("key.revoked", '"overlap_seconds":0', '"overlap_seconds":"x"'))
        assert cursor.rowcount == 1
        assert any("invalid input syntax" in line for line in findings())
