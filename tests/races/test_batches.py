"""Batches that meet: the same keys in another order, and a single request among them."""

from functools import partial

from approvals_app.models import Approval
from audit_app.models import Event
from sessions_app.models import Task
from tests.races.together import together

REFUND = {"target": "finance", "task": {"task_type": "refund_approval", "data": {"amount": "42"}}}


def batch(api, agent, numbers):
    tasks = [{"idempotency_key": f"k{number:02}"} | REFUND for number in numbers]
    return partial(api(agent).post, "/tasks/route:batch", {"tasks": tasks})


def test_batches_with_the_same_keys_in_another_order_make_each_task_once(api, bot):
    orders = [range(30), range(29, -1, -1), [*range(15, 30), *range(15)], range(0, 30, 2)] * 2
    answers = together([batch(api, bot, order) for order in orders])

    assert [answer.status_code for answer in answers] == [200] * 8
    routed = {}
    for order, answer in zip(orders, answers, strict=True):
        for number, result in zip(order, answer.json()["results"], strict=True):
            assert result["status"] == 202
            routed.setdefault(number, []).append(result)
    for results in routed.values():
        assert len({result["task"]["task_id"] for result in results}) == 1
        assert sum("replayed" not in result for result in results) == 1
    assert Task.objects.count() == Approval.objects.count() == 30
    assert Event.objects.filter(event_type="task.routed").count() == 30


def test_a_batch_and_single_requests_make_each_task_once(api, bot):
    singles = [
        partial(api(bot).post, "/tasks/route", REFUND, {"Idempotency-Key": f"k{number:02}"})
        for number in (3, 7, 7, 11)
    ]
    *alone, first, second = together(
        [*singles, batch(api, bot, range(12)), batch(api, bot, range(11, -1, -1))]
    )

    assert [answer.status_code for answer in (*alone, first, second)] == [202] * 4 + [200] * 2
    forwards = [result["task"] for result in first.json()["results"]]
    backwards = [result["task"] for result in second.json()["results"]]
    assert forwards == backwards[::-1]
    assert [answer.json() for answer in alone] == [forwards[n] for n in (3, 7, 7, 11)]
    assert Task.objects.count() == 12


def test_different_callers_do_not_wait_for_each_other_under_the_same_keys(api, bot, payer):
    answers = together([batch(api, agent, range(10)) for agent in (bot, payer)])
    assert [answer.status_code for answer in answers] == [200, 200]
    assert not any("replayed" in each for a in answers for each in a.json()["results"])
    assert Task.objects.count() == 20
