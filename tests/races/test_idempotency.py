"""The same request many times at once has one effect and one answer."""

from contextlib import contextmanager
from functools import partial

import pytest
from django.db import connection

from approvals_app.models import Approval
from audit_app.models import Event, RequestReceipt
from sessions_app.models import AgentSession, Task
from tests.database import as_superuser
from tests.factories import TaskFactory, the_approval
from tests.races.together import together, waiting

REFUND = {"target": "finance", "task": {"task_type": "refund_approval", "data": {"amount": "42"}}}


def test_sixteen_deliveries_of_one_task_make_one_task(api, bot):
    calls = [
        partial(api(bot).post, "/tasks/route", REFUND, {"Idempotency-Key": "order-1007"})
        for _ in range(16)
    ]
    answers = together(calls)

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 15
    assert Task.objects.count() == Approval.objects.count() == 1
    assert Event.objects.filter(event_type="task.routed").count() == 1


def test_sixteen_different_requests_under_one_key_make_one_task(api, bot):
    calls = [
        partial(
            api(bot).post,
            "/tasks/route",
            {"target": "finance", "task": {"task_type": "x", "data": {"number": number}}},
            {"Idempotency-Key": "order-1007"},
        )
        for number in range(16)
    ]
    answers = together(calls)

    assert sorted(answer.status_code for answer in answers) == [202] + [422] * 15
    assert Task.objects.count() == 1


def test_different_callers_do_not_meet_under_one_key(api, bot, payer):
    calls = [
        partial(api(agent).post, "/tasks/route", REFUND, {"Idempotency-Key": "order-1007"})
        for agent in (bot, payer) * 4
    ]
    answers = together(calls)

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["task_id"] for answer in answers}) == Task.objects.count() == 2


def test_sessions_opened_at_once_under_one_key_are_one(api, bot):
    calls = [
        partial(
            api(bot).post,
            "/sessions",
            {"agent_role": "support-agent"},
            {"Idempotency-Key": '"run-1"'},
        )
        for _ in range(8)
    ]
    answers = together(calls)

    assert len({answer.content for answer in answers}) == 1
    assert Event.objects.filter(event_type="session.opened").count() == 1


OPEN = {"agent_role": "support-agent"}
ONE = {"Idempotency-Key": "one"}
COPIED = """INSERT INTO request_receipts (caller, endpoint, key, fingerprint, status, headers, body,
    subject_type, subject_id)
SELECT caller, endpoint, 'one', fingerprint, status, headers, body, subject_type, subject_id
FROM request_receipts WHERE key = 'first'"""


@contextmanager
def a_rival():
    """Somebody with the key "one", who is to give the answer that "first" was given, and did not
    commit yet."""
    with as_superuser() as rival:
        assert rival.execute(COPIED).rowcount == 1
        yield rival


@pytest.fixture
def impatient():
    """Nobody waits long for a lock on the tests' own connection."""
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
        yield
        cursor.execute("RESET lock_timeout")


def test_who_lost_the_race_rolls_back_and_gives_the_winners_answer(api, bot):
    first = api(bot).post("/sessions", OPEN, {"Idempotency-Key": "first"})
    with a_rival() as rival, waiting(lambda: api(bot).post("/sessions", OPEN, ONE)) as outcome:
        rival.commit()

    answer = outcome.result(timeout=30)
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert (answer.status_code, answer.content) == (201, first.content)
    assert AgentSession.objects.count() == 1
    assert Event.objects.filter(event_type="session.opened").count() == 1


def test_where_the_concurrent_duplicate_gives_up_it_is_done(api, bot):
    first = api(bot).post("/sessions", OPEN, {"Idempotency-Key": "first"})
    with a_rival() as rival, waiting(lambda: api(bot).post("/sessions", OPEN, ONE)) as outcome:
        rival.rollback()

    answer = outcome.result(timeout=30)
    assert answer.status_code == 201
    assert "Idempotent-Replayed" not in answer.headers
    assert answer.json()["session_id"] != first.json()["session_id"]


def test_a_refusal_that_lost_the_race_is_not_recorded_again(api, bot, payer):
    path = f"/tasks/{TaskFactory(agent=bot).pk}/claim"
    first = api(payer).post(path, {}, {"Idempotency-Key": "first"})
    with a_rival() as rival, waiting(lambda: api(payer).post(path, {}, ONE)) as outcome:
        rival.commit()

    answer = outcome.result(timeout=30)
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert (answer.status_code, answer.content) == (409, first.content)
    assert Event.objects.filter(event_type="operation.refused").count() == 1


def in_progress(answer):
    assert (answer.status_code, answer.json()["code"]) == (409, "request_in_progress")
    assert answer.headers["Retry-After"]


@pytest.mark.usefixtures("impatient")
def test_while_another_runs_it_is_told_to_come_again(api, bot):
    api(bot).post("/sessions", OPEN, {"Idempotency-Key": "first"})
    with a_rival():
        in_progress(api(bot).post("/sessions", OPEN, ONE))
    assert AgentSession.objects.count() == 1
    assert api(bot).post("/sessions", OPEN, ONE).headers["Idempotent-Replayed"] == "true"


@pytest.mark.usefixtures("impatient")
def test_while_another_routes_the_task_it_is_told_to_come_again(api, bot):
    tasks = {"tasks": [{"idempotency_key": "one"} | REFUND]}
    api(bot).post("/tasks/route", REFUND, {"Idempotency-Key": "first"})
    with a_rival() as last, waiting(lambda: api(bot).post("/tasks/route", REFUND, ONE)) as outcome:
        in_progress(api(bot).post("/tasks/route", REFUND, ONE))
        in_progress(api(bot).post("/tasks/route:batch", tasks))
        last.rollback()

    again = api(bot).post("/tasks/route", REFUND, ONE)
    first = outcome.result(timeout=30)
    assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")
    assert Task.objects.count() == Approval.objects.count() == 2


@pytest.mark.usefixtures("impatient")
def test_an_answer_is_given_again_while_somebody_else_holds_the_row(api, alice, bot):
    approval = the_approval(TaskFactory(agent=bot))
    path, body = f"/approvals/{approval.pk}/approve", {"payload_digest": approval.payload_digest}
    first = api(user=alice).post(path, body, ONE)
    with as_superuser() as other:
        other.execute("SELECT FROM approvals WHERE id = %s FOR UPDATE", [approval.pk])
        again = api(user=alice).post(path, body, ONE)
        busy = api(user=alice).post(path, body, {"Idempotency-Key": "another"})

    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (busy.status_code, busy.json()["code"]) == (409, "busy")
    assert list(RequestReceipt.objects.values_list("key", flat=True)) == ["one"]
