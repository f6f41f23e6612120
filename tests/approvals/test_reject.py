"""A human says no."""

from approvals_app.models import Approval
from audit_app.models import Event
from sessions_app.models import Task
from tests.factories import TaskFactory, the_approval


def reject(api, user, approval, **more):
    body = {"payload_digest": approval.payload_digest, **more}
    return api(user=user).post(f"/approvals/{approval.pk}/reject", body)


def test_one_no_ends_the_task(api, alice, bot, payer):
    task = TaskFactory(agent=bot)
    answer = reject(api, alice, the_approval(task), notes="The order was paid back already.")

    assert answer.status_code == 200
    assert answer.json()["status"] == "rejected"
    assert answer.json()["decided_by"] == "alice"
    assert answer.json()["notes"] == "The order was paid back already."
    seen = api(bot).get(f"/tasks/{task.pk}").json()
    assert seen["status"] == "rejected"
    assert seen["approvals"][0]["notes"] == "The order was paid back already."
    assert api(payer).post(f"/tasks/{task.pk}/claim").status_code == 409


def test_nobody_else_is_asked_any_more(api, alice, charlie, bot):
    task = TaskFactory(agent=bot)
    first = the_approval(task)
    asked = {"task_id": str(task.pk), "approver_role": "sre"}
    second = api(bot).post("/approvals", asked).json()["approval_id"]
    reject(api, alice, first)

    assert Approval.objects.get(pk=second).status == "withdrawn"
    too_late = reject(api, charlie, Approval.objects.get(pk=second))
    assert too_late.status_code == 409
    assert too_late.json()["state"] == "withdrawn"


def test_the_trail_tells_the_story_in_order(api, alice, bot):
    task = TaskFactory(agent=bot)
    reject(api, alice, the_approval(task), notes="No.")

    story = Event.objects.filter(trace_id=task.trace_id)
    assert [(e.event_type, e.actor, e.from_state, e.to_state) for e in story] == [
        ("task.routed", "agent:bot", None, "awaiting_approval"),
        ("approval.requested", "agent:bot", None, "pending"),
        ("vote.cast", "human:alice", None, "cast"),
        ("approval.rejected", "human:alice", "pending", "rejected"),
        ("task.rejected", "human:alice", "awaiting_approval", "rejected"),
    ]
    assert (
        story[3].metadata.items()
        >= {
            "notes": "No.",
            "payload_digest": the_approval(task).payload_digest,
            "authenticated_by": "password",
            "second_factor": False,
        }.items()
    )
    assert story[4].metadata["approval_id"] == str(the_approval(task).pk)


def test_a_rejected_task_stays_rejected(api, alice, bob, bot):
    task = TaskFactory(agent=bot)
    reject(api, alice, the_approval(task))
    body = {"payload_digest": the_approval(task).payload_digest}
    answer = api(user=bob).post(f"/approvals/{the_approval(task).pk}/approve", body)

    assert answer.status_code == 409
    assert Task.objects.get(pk=task.pk).status == "rejected"
