"""Whoever tampers with the trail, or with what it tells of, is told of by verify_audit.

The tests do as a superuser would: no trigger stops them.
"""

import json
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection, connections

from approvals_app.decisions import operations as approvals
from approvals_app.errors import PayloadDigestMismatch
from approvals_app.models import Approval
from audit_app.base.actors import Actor
from audit_app.base.canonical import canonical
from audit_app.models import Event
from audit_app.trail.notes import add_event
from audit_app.trail.verification import event_in
from sessions_app import operations
from sessions_app.models import AgentSession, Task
from sessions_app.tasks import operations as task_operations
from tests.commands.conftest import expect_failure, run_for_output, wait_until_something_waits_for
from tests.factories import SessionFactory, TaskFactory, the_approval

DIGEST = "0" * 64


@pytest.fixture
def task(bot, payer, alice):
    """A refund: alice was refused once, then said yes, and the payer paid."""
    session = SessionFactory(agent=bot, metadata={"customer": 1007})
    task = TaskFactory(agent=bot, session_id=session.pk)
    approval = the_approval(task)
    with pytest.raises(PayloadDigestMismatch):
        approve(approval, alice, DIGEST)
    approve(approval, alice, task.payload_digest)
    task_operations.claim(task.pk, by=payer.as_actor(), lease=timedelta(minutes=5))
    task_operations.complete(task.pk, by=payer.as_actor(), result={"paid": 42.5, "note": "Grüße 𝄞"})
    for status in ("active", "completed"):
        operations.update_session(session.pk, by=bot.as_actor(), status=status)
    return Task.objects.get(pk=task.pk)


def approve(approval, who, payload_digest):
    approvals.approve(approval.pk, by=Actor.human(who), payload_digest=payload_digest)


def event(subject, seq):
    return Event.objects.get(subject_id=subject.pk, seq=seq)


def place(of):
    return f"event {of.pk}, position {of.position}"


def list_findings():
    """The lines of findings."""
    out, sentence = expect_failure("verify_audit")
    lines = out.splitlines()
    assert sentence.startswith(f"The trail is not whole: {len(lines)} findings in ")
    return lines


@contextmanager
def without(constraint):
    """The owner of the table can take a check away, and put it back as if nothing had been."""
    name = f"ALTER TABLE audit_events {{}} CONSTRAINT {constraint}"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s", [constraint]
        )
        [definition] = cursor.fetchone()
        cursor.execute(name.format("DROP"))
        yield
        cursor.execute(f"{name.format('ADD')} {definition.removesuffix('NOT VALID')} NOT VALID")


def test_a_trail_that_nobody_touched_is_whole(task, run, bot):
    add_event(
        "agent.noted",
        by=bot.as_actor(),
        trace_id=uuid4(),
        metadata={"é": 1e21, "𝄞": 0.1, "\ue000": 1e16, "n": -0.0, "\n\x7f": [True, None]},
    )
    run_for_output("revoke_agent", "payer")
    events, subjects = Event.objects.count(), Event.objects.values("subject_id").distinct().count()

    assert (
        run_for_output("verify_audit")
        == f"The trail is whole: {events} events of {subjects} subjects.\n"
    )
    assert run("verify_audit") == {
        "whole": True,
        "events": events,
        "subjects": subjects,
        "found": 0,
        "findings": [],
        "sealed": 0,
        "not_sealed": events,
    }


def test_an_empty_trail_is_whole():
    assert run_for_output("verify_audit") == "The trail is whole: 0 events of 0 subjects.\n"


def test_a_changed_state_in_an_entry(task, tamper):
    approval = the_approval(task)
    decided = event(approval, 2)
    tamper(
        """UPDATE audit_events SET entry = replace(replace(entry,
            '"to_state":"approved"', '"to_state":"rejected"'),
            'approval.approved', 'approval.rejected') WHERE id = %s""",
        decided.pk,
    )

    assert list_findings() == [
        f"changed: approval {approval.pk}, seq 2, event {decided.pk}: "
        "the row's status is approved, its events end at rejected"
    ]


def test_a_changed_kind_of_event(task, tamper):
    approval = the_approval(task)
    decided = event(approval, 2)
    tamper(
        """UPDATE audit_events SET entry = replace(entry, 'approval.approved', 'approval.expired')
            WHERE id = %s""",
        decided.pk,
    )

    assert list_findings() == [
        f"changed: approval {approval.pk}, seq 2, {place(decided)}: "
        "approval.expired never goes from pending to approved"
    ]


def test_a_state_that_does_not_follow(task, tamper):
    claimed = event(task, 3)
    tamper(
        """UPDATE audit_events SET entry = replace(replace(replace(entry,
            '"from_state":"approved"', '"from_state":"awaiting_approval"'),
            '"to_state":"claimed"', '"to_state":"cancelled"'), 'task.claimed', 'task.cancelled')
            WHERE id = %s""",
        claimed.pk,
    )

    assert list_findings() == [
        f"changed: task {task.pk}, seq 3, {place(claimed)}: "
        "it begins at awaiting_approval, but the event before it left the subject approved",
        f"changed: task {task.pk}, seq 4, {place(event(task, 4))}: "
        "it begins at claimed, but the event before it left the subject cancelled",
    ]


def test_a_decision_put_into_another_humans_mouth(task, charlie, alice, tamper):
    approval = the_approval(task)
    decided = event(approval, 2)
    tamper(
        """UPDATE audit_events SET entry = replace(replace(entry,
            'human:alice', 'human:charlie'), %s, %s) WHERE id = %s""",
        f'"actor_id":"{alice.pk}"',
        f'"actor_id":"{charlie.pk}"',
        decided.pk,
    )

    assert list_findings() == [
        f"changed: approval {approval.pk}, seq 2, event {decided.pk}: "
        f"the row says user {alice.pk} decided, its event says user {charlie.pk}"
    ]


def test_a_decision_by_no_human(task, tamper):
    approval = the_approval(task)
    decided = event(approval, 2)
    tamper(
        "UPDATE audit_events SET entry = replace(entry, 'human:alice', 'agent:bot') WHERE id = %s",
        decided.pk,
    )

    assert list_findings() == [
        f"changed: approval {approval.pk}, seq 2, event {decided.pk}: "
        "the row says a human decided, its events say agent"
    ]


def test_a_decider_changed_in_the_row(task, charlie, alice, tamper):
    approval = the_approval(task)
    tamper("UPDATE approvals SET decided_by_id = %s WHERE id = %s", charlie.pk, approval.pk)

    assert list_findings() == [
        f"changed: approval {approval.pk}, seq 2, event {event(approval, 2).pk}: "
        f"the row says user {charlie.pk} decided, its event says user {alice.pk}"
    ]


def test_a_removed_event(task, tamper):
    claimed = event(task, 3)
    tamper("DELETE FROM audit_events WHERE id = %s", claimed.pk)

    assert list_findings() == [
        f"removed: task {task.pk}, seq 3, position {event(task, 4).position}: "
        f"it is missing before event {event(task, 4).pk}"
    ]


def test_several_removed_events(task, tamper):
    last = event(task, 4)
    tamper("DELETE FROM audit_events WHERE subject_id = %s AND seq < 4", task.pk)

    assert list_findings()[0] == (
        f"removed: task {task.pk}, seq 1, position {last.position}: "
        f"events 1 to 3 are missing before event {last.pk}"
    )


def test_a_removed_last_event(task, tamper):
    tamper("DELETE FROM audit_events WHERE subject_id = %s AND seq = 4", task.pk)

    where = f"changed: task {task.pk}, seq 3, event {event(task, 3).pk}"
    assert list_findings() == [
        f"{where}: the row's version is 4, its last event's seq is 3",
        f"{where}: the row's status is completed, its events end at claimed",
    ]


def test_all_events_of_a_row_removed(task, tamper):
    tamper("DELETE FROM audit_events WHERE subject_id = %s", task.pk)

    assert list_findings() == [f"inserted: task {task.pk}: the row has no event"]


def test_an_inserted_event(task, tamper):
    session = AgentSession.objects.get()
    tamper(
        """INSERT INTO audit_events (entry) VALUES (audit_entry('session.expired', 'system:x', 'x',
            'session', %s, 4, 'active', 'expired', 'support-agent', NULL, '{}'))""",
        session.pk,
    )

    added = event(session, 4)
    assert list_findings()[0] == (
        f"changed: session {session.pk}, seq 4, {place(added)}: "
        "it begins at active, but the event before it left the subject completed"
    )


def test_an_event_inserted_where_another_was(task, tamper):
    session = AgentSession.objects.get()
    tamper("DELETE FROM audit_events WHERE subject_id = %s AND seq = 2", session.pk)
    tamper(
        """INSERT INTO audit_events (entry) VALUES (audit_entry('session.activated', 'agent:bot',
            'x', 'session', %s, 2, 'pending', 'active', 'support-agent', NULL, '{}'))""",
        session.pk,
    )

    added, completed = event(session, 2), event(session, 3)
    assert list_findings() == [
        f"removed: session {session.pk}, seq 2, position {completed.position}: "
        f"it is missing before event {completed.pk}",
        f"inserted: session {session.pk}, seq 2, {place(added)}: "
        "the subject's seq had come to 3 before it",
    ]


@pytest.mark.usefixtures("superuser")
def test_metadata_that_is_not_canonical(task, tamper):
    routed = event(task, 1)
    with without("audit_events_entry_is_its_columns"):
        tamper(
            """UPDATE audit_events SET entry = replace(entry, '"metadata":{', '"metadata":{ ')
            WHERE id = %s""",
            routed.pk,
        )

    assert list_findings()[0] == (
        f"changed: task {task.pk}, seq 1, {place(routed)}: "
        "the entry is not in its canonical form (RFC 8785)"
    )


@pytest.mark.parametrize("text", ['{"a":1.0}', '{"b":1,"a":2}', '{"a":"\\u00e9"}', "[1,NaN]", "x"])
def test_an_entry_of_another_form(text):
    with pytest.raises(ValueError, match="canonical"):
        event_in(text)


@pytest.mark.parametrize(("name", "value"), [("seq", True), ("actor", None), ("metadata", [])])
def test_an_entry_whose_members_are_of_other_types(task, name, value):
    entry = json.loads(event(task, 1).entry) | {name: value}

    with pytest.raises(ValueError, match=f"{name} is not of its type"):
        event_in(canonical(entry))


def test_a_status_changed_behind_the_trails_back(task, tamper):
    session = AgentSession.objects.get()
    tamper("UPDATE sessions SET status = 'active' WHERE id = %s", session.pk)

    assert list_findings() == [
        f"changed: session {session.pk}, seq 3, event {event(session, 3).pk}: "
        "the row's status is active, its events end at completed"
    ]


def test_a_time_changed_behind_the_trails_back(task, tamper):
    session = AgentSession.objects.get()
    tamper("UPDATE sessions SET updated_at = updated_at - interval '1 day'")

    assert list_findings() == [
        f"changed: session {session.pk}, seq 3, event {event(session, 3).pk}: "
        f"the row's updated_at is not the time of its last event, "
        f"{session.updated_at:%Y-%m-%dT%H:%M:%S.%fZ}"
    ]


def test_a_payload_changed_after_it_was_approved(task, tamper):
    tamper(
        """UPDATE tasks SET data = jsonb_set(data, '{amount}', '"9999"'),
            payload = replace(payload, '42.50",', '9999",') WHERE id = %s""",
        task.pk,
    )

    assert list_findings() == [
        f"changed: task {task.pk}, seq 4, event {event(task, 4).pk}: the row's payload_digest "
        f"is not that of its first event, {task.payload_digest}",
        f"changed: approval {the_approval(task).pk}: "
        "the row's payload_digest is not that of its task",
    ]


def test_an_approval_moved_to_another_payload(task, tamper):
    approval = the_approval(task)
    tamper("UPDATE approvals SET payload_digest = %s", DIGEST)

    assert list_findings() == [
        f"changed: approval {approval.pk}, seq 2, event {event(approval, 2).pk}: "
        f"the row's payload_digest is not that of its first event, {task.payload_digest}",
        f"changed: approval {approval.pk}: the row's payload_digest is not that of its task",
        f"changed: vote {approval.votes.get().pk}: "
        "the row's payload_digest is not that of its approval",
    ]


def test_an_approved_digest_changed_in_its_event(task, tamper):
    approval = the_approval(task)
    decided = event(approval, 2)
    tamper(
        "UPDATE audit_events SET entry = replace(entry, %s, %s) WHERE id = %s",
        task.payload_digest,
        DIGEST,
        decided.pk,
    )

    assert list_findings() == [
        f"changed: approval {approval.pk}, seq 2, {place(decided)}: "
        "it names another payload than the first event does"
    ]


def test_a_removed_row(task, tamper):
    approval = the_approval(task)
    tamper("DELETE FROM approvals WHERE id = %s", approval.pk)

    assert list_findings() == [
        f"changed: task {task.pk}: it needed an approval and went on without one",
        f"removed: approval {approval.pk}, seq 2, event {event(approval, 2).pk}: "
        "the row is not there, and no event says that it was purged",
    ]


def test_an_inserted_row(task, tamper, bot):
    invented = uuid4()
    tamper(
        """INSERT INTO sessions (id, agent_id, role, status, metadata, trace_id, version,
            created_at, updated_at) VALUES (%s, %s, 'ops', 'active', '{}', %s, 1, now(), now())""",
        invented,
        bot.pk,
        uuid4(),
    )

    assert list_findings() == [f"inserted: session {invented}: the row has no event"]


@pytest.mark.usefixtures("superuser")
def test_a_purged_row_that_came_back(task, tamper, backdate):
    approval = the_approval(task)
    backdate(task, approval, days=91)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT * FROM approvals")
    run_for_output("purge")
    columns = ", ".join(field.column for field in Approval._meta.concrete_fields)
    tamper(f"INSERT INTO approvals ({columns}) SELECT {columns} FROM kept")
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE kept")

    assert list_findings()[0] == (
        f"inserted: approval {approval.pk}, seq 3, event {event(approval, 3).pk}: "
        "the row is there, but it was purged"
    )


@pytest.mark.usefixtures("superuser")
@pytest.mark.parametrize(
    ("table", "trigger"), [("sessions", "check_transition"), ("audit_events", "append_only")]
)
def test_a_trigger_that_was_switched_off(task, table, trigger):
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {table}_{trigger}")
        try:
            assert list_findings() == [
                f"changed: {table}_{trigger} on {table}: the trigger is disabled"
            ]
        finally:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {table}_{trigger}")


def test_json_says_where_each_finding_is(task, tamper):
    approval = the_approval(task)
    tamper("DELETE FROM approvals")
    out, _ = expect_failure("verify_audit", "--format", "json")

    told = json.loads(out)
    assert (told["whole"], told["found"]) == (False, 2)
    assert told["findings"][1:] == [
        {
            "what": "removed",
            "reason": "the row is not there, and no event says that it was purged",
            "subject_type": "approval",
            "subject_id": str(approval.pk),
            "seq": 2,
            "event_id": str(event(approval, 2).pk),
            "place": None,
        }
    ]


def test_a_hundred_findings_are_shown_and_the_rest_is_counted(bot, tamper):
    tamper(
        """INSERT INTO sessions (id, agent_id, role, status, metadata, trace_id, version,
            created_at, updated_at)
        SELECT gen_random_uuid(), %s, 'ops', 'active', '{}', gen_random_uuid(), 1, now(), now()
        FROM generate_series(1, 103)""",
        bot.pk,
    )

    out, sentence = expect_failure("verify_audit")

    lines = out.splitlines()
    assert len(lines) == 101
    assert lines[-1] == "… and 3 more."
    assert "103 findings" in sentence


def test_it_is_whole_while_others_are_at_work(task, bot, run):
    stop = threading.Event()

    def work():
        try:
            while not stop.is_set():
                TaskFactory(agent=bot)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as others:
        at_work = others.submit(work)
        try:
            looks = [run("verify_audit") for _ in range(10)]
        finally:
            stop.set()
        at_work.result()

    assert [look["findings"] for look in looks] == [[]] * 10
    assert looks[0]["events"] < looks[-1]["events"]


def test_a_check_that_was_stopped_says_nothing_of_the_trail(task, manage, elsewhere):
    elsewhere.execute("LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE")

    process = manage("verify_audit")
    wait_until_something_waits_for(elsewhere)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)

    assert (process.returncode, out) == (128 + signal.SIGTERM, "")
    assert err == "CommandError: Stopped by SIGTERM before the end.\n"


# A bundle, offline


@pytest.fixture
def bundle(task, tmp_path):
    run_for_output("export_audit", "--to", str(tmp_path / "trail.jsonl"))
    return tmp_path / "trail.jsonl"


def test_a_bundle_is_verified_without_a_database(bundle, manage):
    process = manage("verify_audit", str(bundle), DATABASE_URL="postgresql://x@127.0.0.1:9/x")
    out, err = process.communicate(timeout=30)

    assert (process.returncode, err) == (0, "")
    assert out.startswith("The trail is whole: ")


def test_a_bundle_can_be_standard_input(bundle, manage):
    process = manage("verify_audit", "-", "--format", "json")
    out, _ = process.communicate(bundle.read_text(), timeout=30)

    assert process.returncode == 0
    assert json.loads(out)["events"] == Event.objects.count()


def test_a_bundle_opens_no_connection(bundle):
    connections.close_all()

    run_for_output("verify_audit", str(bundle))

    assert connection.connection is None


WHERE = "task {task}, seq 3, event {event}"


@pytest.mark.parametrize(
    ("claimed_becomes", "expected"),
    [
        (lambda line: b"", "removed: task {task}, seq 3, line {n}: it is missing before event"),
        (
            lambda line: line + line,
            f"inserted: {WHERE}, line {{next}}: the subject's seq had come to 3 before it",
        ),
        (
            lambda line: line.replace(b"claimed", b"cl\xffimed"),
            f"changed: {WHERE}, line {{n}}: the entry is not JSON with a canonical form",
        ),
        (
            lambda line: line.replace(b'"seq":3', b'"seq":"3"'),
            "changed: task {task}, event {event}, line {n}: the entry's seq is not of its type",
        ),
        (
            lambda line: b"nonsense\n",
            "changed: line {n}: the entry is not JSON with a canonical form",
        ),
    ],
    ids=["removed", "inserted", "not UTF-8", "another type", "not JSON"],
)
def test_a_bundle_that_was_tampered_with(bundle, task, claimed_becomes, expected):
    claimed = event(task, 3)
    before, line, after = re.split(
        rb"(?m)(^.*%s.*\n)" % str(claimed.pk).encode(), bundle.read_bytes()
    )
    bundle.write_bytes(before + claimed_becomes(line) + after)

    out, _ = expect_failure("verify_audit", str(bundle))

    n = before.count(b"\n") + 1
    told = expected.format(task=task.pk, event=claimed.pk, n=n, next=n + 1)
    assert out.startswith(told)


def test_what_was_tampered_with_writes_nothing_to_the_terminal(bundle, task):
    text = bundle.read_text().replace('"to_state":"claimed"', '"to_state":"\\u001b[2J\\n"')
    bundle.write_text(text)

    out, _ = expect_failure("verify_audit", str(bundle))

    assert len(out.splitlines()) == 2
    assert "to \N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}" in out
    assert "\x1b" not in out


def test_a_bundle_that_is_not_there_is_one_sentence(tmp_path):
    missing = tmp_path / "missing"

    assert expect_failure("verify_audit", str(missing)) == (
        "",
        f"{missing}: No such file or directory.",
    )
