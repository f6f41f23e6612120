"""A reviewer recalls the approval at the moment at which an agent claims the task: one of them."""

from functools import partial

from audit_app.models import Event
from sessions_app.models import Task
from tests.factories import TaskFactory, approve_task, the_approval
from tests.races.together import together

ROUNDS = 30


def test_either_the_claim_or_the_recall(api, alice, bob, bot, payer):
    for number in range(ROUNDS):
        task = approve_task(TaskFactory(agent=bot), by=alice)
        then = "wait" if number % 2 else "cancel"
        recall = f"/approvals/{the_approval(task).pk}/recall"
        claimed, recalled = together(
            [
                partial(api(payer).post, f"/tasks/{task.pk}/claim"),
                partial(api(user=bob).post, recall, {"reason": "Fraud.", "then": then}),
            ]
        )
        outcome = claimed.status_code, recalled.status_code
        now = Task.objects.get(pk=task.pk).status
        if outcome == (200, 409):
            assert (now, recalled.json()["code"]) == ("claimed", "recall_too_late")
        else:
            assert outcome == (409, 200)
            assert (now, claimed.json()["code"]) == (
                "awaiting_approval" if then == "wait" else "cancelled",
                "invalid_transition",
            )
    events = Event.objects.filter(event_type__in=["task.claimed", "task.recalled"])
    assert events.count() == ROUNDS


def test_two_recalls_are_one(api, alice, bob, bot):
    task = approve_task(TaskFactory(agent=bot), by=alice)
    path = f"/approvals/{the_approval(task).pk}/recall"
    body = {"reason": "Fraud.", "then": "wait"}
    answers = together([partial(api(user=who).post, path, body) for who in (alice, bob)])
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert Task.objects.get().revision == 2
