"""The same request many times at once has one effect and one answer."""

from functools import partial

from approvals_app.models import Approval
from audit_app.models import Event
from sessions_app.models import Task
from tests.races.together import together

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
