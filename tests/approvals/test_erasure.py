"""A payload is erased wherever we keep it; its digest, its events and every check stay."""

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from approvals_app.decisions.retention import purge
from approvals_app.models import Approval
from approvals_app.review.decision import load_decision
from audit_app.base.actors import Actor
from audit_app.base.events import EventType
from audit_app.models import Delivery, Event, Webhook
from audit_app.trail.recording import create, perform
from sessions_app.models import Task
from sessions_app.tasks.operations import cancel
from sessions_app.tasks.revisions import revise
from tests.factories import TaskFactory, approve_task, the_approval

pytestmark = pytest.mark.usefixtures("whole")
MARKER = "zanzibar-4711"
REASON = "Article 17: the customer asked for it."
TEXT_COLUMNS = """
SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables
    USING (table_schema, table_name)
WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
"""


@pytest.fixture
def eraser(alice):
    """alice, who may erase payloads."""
    alice.user_permissions.add(Permission.objects.get(codename="erase_payload"))
    return alice


@pytest.fixture
def erase(api):
    """``erase(alice, task)``: over HTTP."""

    def post(person, task, **body):
        return api(user=person).post(f"/tasks/{task.pk}/erase", {"reason": REASON} | body)

    return post


def cancel_task(task, by):
    return cancel(task.pk, by=by.as_actor(), reason="Not needed.")


def find_in_database(text):
    """The columns, as table.column, that hold ``text`` anywhere, browser sessions decoded."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute(TEXT_COLUMNS)
        for table, column in cursor.fetchall():
            cursor.execute(
                f'SELECT count(*) FROM "{table}" WHERE strpos("{column}"::text, %s) > 0',
                [text],
            )
            if cursor.fetchone()[0]:
                found.append(f"{table}.{column}")
    found += [
        f"session {s.pk}" for s in Session.objects.all() if text in json.dumps(s.get_decoded())
    ]
    return found


def test_its_text_is_nowhere(api, bot, eraser, erase, client, bob, payer):
    agent = api(agent=bot)
    webhook = Webhook(name="ledger", url="https://ledger.example/", secret="sealed")
    with transaction.atomic():
        create(webhook, EventType.WEBHOOK_CREATED, by=Actor.system("test"))
    body = {
        "target": "finance",
        "task": {
            "task_type": "refund_approval",
            "description": f"Refund {MARKER}",
            "data": {"customer": MARKER, "order_id": MARKER},
        },
        "context": {"why": MARKER},
    }
    batch = {"tasks": [body | {"idempotency_key": "one"}]}
    answer = agent.post("/tasks/route:batch", batch, headers={"Idempotency-Key": "batch-1"})
    task = Task.objects.get(pk=answer.json()["results"][0]["task"]["task_id"])
    change = {"data": {"customer": MARKER, "amount": "2"}}
    agent.post(f"/tasks/{task.pk}/revise", change, headers={"Idempotency-Key": "revise-1"})
    approval = Approval.objects.get(task=task, status="pending")
    client.force_login(bob)
    page = f"/admin/approvals_app/approval/{approval.pk}/edit/"
    session = client.session
    session["drafts"] = {page: {"data": MARKER}, "/admin/approvals_app/approval/other/": {"a": "b"}}
    session.save()
    Delivery.objects.create(
        webhook=webhook,
        event_id=uuid4(),
        event_type="task.routed",
        subject_id=task.pk,
        cursor="1",
        response=f"You sent {MARKER}",
    )
    approve = {"payload_digest": approval.payload_digest}
    api(user=eraser).post(
        f"/approvals/{approval.pk}/approve", approve, headers={"Idempotency-Key": "yes"}
    )
    executor = api(agent=payer)
    executor.post(f"/tasks/{task.pk}/claim", {}, headers={"Idempotency-Key": "claim-1"})
    result, last = {"result": {"paid": MARKER}}, {"Idempotency-Key": "complete-1"}
    executor.post(f"/tasks/{task.pk}/complete", result, headers=last)
    before = Task.objects.get(pk=task.pk)
    assert before.status == "completed"
    assert {"tasks.payload", "task_revisions.payload", "request_receipts.body"} < set(
        find_in_database(MARKER)
    )

    assert erase(eraser, task).status_code == 200

    assert find_in_database(MARKER) == []
    now = Task.objects.get(pk=task.pk)
    assert now.payload_digest == before.payload_digest
    assert client.session["drafts"] == {"/admin/approvals_app/approval/other/": {"a": "b"}}
    # A repeated request is answered, not executed.
    again = executor.post(f"/tasks/{task.pk}/complete", result, headers=last)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (again.json()["status"], again.json()["data"]) == ("completed", {})


def test_an_event_says_who_and_why(bot, eraser, erase):
    task = cancel_task(TaskFactory(agent=bot), bot)
    answer = erase(eraser, task)
    erased = answer.json()["erased"]
    assert (erased["by"], erased["reason"]) == ("alice", REASON)
    assert answer.json()["data"] == {}
    event = Event.objects.get(event_type="payload.erased")
    assert (event.actor, event.subject_id) == ("human:alice", task.pk)
    assert event.metadata["erasure"] == {
        "by": "alice",
        "reason": REASON,
        "payload_digest": task.payload_digest,
    }


def test_a_revision_has_no_payload_but_its_digest(api, bot, eraser, erase):
    task = TaskFactory(agent=bot)
    first = task.payload_digest
    with transaction.atomic():
        revise(Task.objects.lock(task.pk), by=bot.as_actor(), changes={"data": {"amount": "1"}})
    cancel_task(task, bot)
    erase(eraser, task)
    revisions = api(user=eraser).get(f"/tasks/{task.pk}/revisions").json()["revisions"]
    assert [each["payload"] for each in revisions] == [None, None]
    assert revisions[0]["payload_digest"] == first


@pytest.mark.parametrize("ended", [False, True])
def test_only_with_the_right(bot, alice, erase, ended):
    task = TaskFactory(agent=bot)
    if ended:
        cancel_task(task, bot)
    answer = erase(alice, task)
    assert (answer.status_code, answer.json()["code"]) == (403, "no_right_to_erase")


def test_not_while_it_waits(bot, eraser, erase):
    answer = erase(eraser, TaskFactory(agent=bot))
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_transition")


def test_once(bot, eraser, erase):
    task = cancel_task(TaskFactory(agent=bot), bot)
    erase(eraser, task)
    assert erase(eraser, task).json()["code"] == "already_erased"


def test_the_result_can_stay(bot, eraser, capsys):
    task = cancel_task(TaskFactory(agent=bot), bot)
    call_command(
        "erase_payload", str(task.pk), "--as", "alice", "--reason", REASON, "--keep-result"
    )
    assert "Erased by alice" in capsys.readouterr().out
    assert Event.objects.get(event_type="payload.erased").metadata["kept_result"] is True


def test_pages_say_that_it_is_erased(bot, eraser, erase, client):
    task = TaskFactory(agent=bot, description=MARKER)
    approval = the_approval(task)
    cancel_task(task, bot)
    client.force_login(eraser)
    page = f"/admin/sessions_app/task/{task.pk}/change/"
    assert "Erase payload" in client.get(page).content.decode()
    answer = client.post(f"/admin/sessions_app/task/{task.pk}/erase/", {"reason": REASON})
    assert answer.status_code == 302
    for path in (page, f"/admin/approvals_app/approval/{approval.pk}/change/"):
        shown = client.get(path).content.decode()
        assert "Erased by alice" in shown, path
        assert REASON in shown
        assert MARKER not in shown
    assert "by bot: Not needed." in client.get(page).content.decode()


def test_nothing_is_compared_with_it(api, bot, payer, eraser, erase, client):
    first = approve_task(TaskFactory(agent=bot), eraser)
    api(agent=payer).post(f"/tasks/{first.pk}/claim", {})
    api(agent=payer).post(f"/tasks/{first.pk}/complete", {"result": 1})
    second = the_approval(TaskFactory(agent=bot, data={"amount": "50"}))
    compared = load_decision(second.pk, Actor.human(eraser)).last_approved
    assert compared is not None
    assert compared.pk == first.pk
    assert erase(eraser, first).status_code == 200
    assert load_decision(second.pk, Actor.human(eraser)).last_approved is None
    client.force_login(eraser)
    page = f"/admin/approvals_app/approval/{the_approval(first).pk}/payload/?exact"
    assert client.get(page).status_code == 404


def test_it_is_purged_like_any_other(bot, eraser, erase):
    task = cancel_task(TaskFactory(agent=bot), bot)
    erase(eraser, task)
    by = Actor.system("purge")
    assert sum(each["tasks"] for each in purge(by=by, older_than=timedelta(0), batch_size=10)) == 1
    assert not Task.objects.filter(pk=task.pk).exists()


FORGERIES = {
    "no event": "UPDATE tasks SET erasure = jsonb_build_object('payload_digest', payload_digest)",
    "only the payload": """UPDATE tasks SET payload = '{"a":1}'""",
    "a revision": "UPDATE task_revisions SET payload = '{}', erased_digest = payload_digest",
}


@pytest.mark.parametrize("what", FORGERIES)
def test_the_database_refuses_it_otherwise(bot, what):
    task = TaskFactory(agent=bot)
    with transaction.atomic():
        revise(Task.objects.lock(task.pk), by=bot.as_actor(), changes={"data": {"amount": "1"}})
    cancel_task(task, bot)
    with connection.cursor() as cursor, pytest.raises(DatabaseError), transaction.atomic():
        cursor.execute(FORGERIES[what])


def test_the_database_refuses_it_of_a_task_that_waits(bot, eraser):
    task = TaskFactory(agent=bot)
    erasure = {"by": "alice", "reason": "", "payload_digest": task.payload_digest}
    with pytest.raises(DatabaseError, match="has not finished"), transaction.atomic():
        perform(
            Task.objects.lock(task.pk).erase,
            by=Actor.human(eraser),
            details={"erasure": erasure},
            erasure=erasure,
            keep_result=False,
        )
