"""An agent asks for one more human."""

from uuid import uuid4

from approvals_app.models import Approval
from audit_app.models import Event
from sessions_app.models import Task
from tests.factories import AgentFactory, TaskFactory, approve_task, the_approval


def ask(api, agent, task, role="sre", **more):
    return api(agent).post("/approvals", {"task_id": str(task.pk), "approver_role": role, **more})


def approve(api, user, approval):
    path = f"/approvals/{approval.pk}/approve"
    return api(user=user).post(path, {"payload_digest": approval.payload_digest})


def test_the_approval_is_there_and_says_why(api, bot):
    task = TaskFactory(agent=bot)
    answer = ask(api, bot, task, reason="It touches production.")

    assert answer.status_code == 201
    body = answer.json()
    assert answer.headers["Location"] == f"/approvals/{body['approval_id']}"
    assert (body["approver_role"], body["status"]) == ("sre", "pending")
    assert body["reason"] == "It touches production."
    assert body["payload_digest"] == the_first(task).payload_digest
    told = Event.objects.get(subject_id=body["approval_id"])
    assert (told.event_type, told.trace_id) == ("approval.requested", task.trace_id)
    assert told.metadata["reason"] == "It touches production."


def the_first(task):
    return Approval.objects.get(task=task, approver_role="finance")


def test_the_task_then_needs_both(api, alice, charlie, bot):
    task = TaskFactory(agent=bot)
    second = ask(api, bot, task).json()

    assert approve(api, alice, the_first(task)).status_code == 200
    assert Task.objects.get(pk=task.pk).status == "awaiting_approval"
    assert approve(api, charlie, Approval.objects.get(pk=second["approval_id"])).status_code == 200
    assert Task.objects.get(pk=task.pk).status == "approved"


def test_the_same_role_is_not_asked_twice(api, bot):
    task = TaskFactory(agent=bot)
    answer = ask(api, bot, task, "finance")

    assert answer.status_code == 409
    assert answer.json()["code"] == "approval_pending"
    assert answer.json()["role"] == "finance"
    assert the_approval(task).status == "pending"


def test_a_role_that_said_yes_can_be_asked_again(api, alice, charlie, bob, bot):
    task = TaskFactory(agent=bot)
    ask(api, bot, task)
    approve(api, alice, the_first(task))
    again = ask(api, bot, task, "finance")

    assert again.status_code == 201
    one_voice = approve(api, alice, Approval.objects.get(pk=again.json()["approval_id"]))
    assert one_voice.json()["code"] == "one_voice_each"


def test_a_task_that_does_not_wait_is_not_asked_about(api, alice, bot):
    task = approve_task(TaskFactory(agent=bot), by=alice)
    answer = ask(api, bot, task)

    assert answer.status_code == 409
    assert answer.json()["code"] == "task_not_waiting"
    assert answer.json()["state"] == "approved"
    assert answer.json()["allowed"] == ["cancel", "claim", "expire", "recall", "reopen"]


def test_a_task_that_is_not_there_is_not_found(api, bot):
    body = {"task_id": str(uuid4()), "approver_role": "sre"}
    assert api(bot).post("/approvals", body).status_code == 404


def test_a_strangers_task_is_not_found(api, bot):
    task = TaskFactory(agent=AgentFactory())
    assert ask(api, bot, task).status_code == 404
    assert Approval.objects.filter(approver_role="sre").count() == 0


def test_a_role_is_needed_and_named_in_the_refusal(api, bot):
    task = TaskFactory(agent=bot)
    for role in ("", None, 7, "x" * 151):
        answer = ask(api, bot, task, role)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "approver_role"


def test_a_list_can_be_filtered(api, alice, bot):
    task = TaskFactory(agent=bot)
    approve_task(TaskFactory(agent=bot), by=alice)
    ask(api, bot, task)

    def list_approvals(**query):
        body = api(bot).get("/approvals", **query).json()
        assert body["total"] == len(body["approvals"])
        return {(a["approver_role"], a["status"]) for a in body["approvals"]}

    assert list_approvals(status="approved") == {("finance", "approved")}
    assert list_approvals(approver_role="sre") == {("sre", "pending")}
    assert list_approvals(task_id=str(task.pk)) == {("finance", "pending"), ("sre", "pending")}
    assert api(bot).get("/approvals", status="done").status_code == 400
    assert api(bot).get("/approvals", role="sre").status_code == 400
