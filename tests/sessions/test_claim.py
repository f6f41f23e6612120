"""The executing agent's side: claim, complete, fail; and the router's: cancel."""

from datetime import timedelta

import pytest
from django.utils import timezone

from approvals_app.models import Approval
from audit_app.models import Event
from sessions_app import agents
from sessions_app.models import Task
from tests.factories import (
    OPS,
    AgentFactory,
    SessionFactory,
    TaskFactory,
    approve_task,
    set_columns,
)


@pytest.fixture
def task(alice, bot):
    """A refund that alice approved."""
    return approve_task(TaskFactory(agent=bot), by=alice)


@pytest.fixture
def rival():
    return AgentFactory(name="rival", roles=["finance"])


@pytest.fixture
def do(api, task):
    """``do(agent, "claim")`` on the approved task."""
    return lambda agent, what, body=None, **given: api(agent).post(
        f"/tasks/{task.pk}/{what}", body or {}, **given
    )


def refusal(answer):
    return answer.status_code, answer.json()["code"]


def run_out():
    set_columns(Task, lease_expires_at=timezone.now() - timedelta(seconds=1))


def test_a_claim_leases_the_task(do, payer, settings):
    answer = do(payer, "claim")
    body = answer.json()
    assert (answer.status_code, body["status"], body["claimed_by"]) == (200, "claimed", "payer")
    lease = Task.objects.get().lease_expires_at - Task.objects.get().updated_at
    assert abs(lease - settings.TASK_LEASE) < timedelta(seconds=5)


def test_a_claim_may_say_for_how_long(do, payer):
    do(payer, "claim", {"lease_seconds": 3600})
    lease = Task.objects.get().lease_expires_at - Task.objects.get().updated_at
    assert abs(lease - timedelta(hours=1)) < timedelta(seconds=5)


@pytest.mark.parametrize("seconds", [0, -1, 3601, 1.5, "x", True])
@pytest.mark.parametrize("what", ["claim", "extend"])
def test_a_lease_of_another_length_is_refused(do, payer, what, seconds):
    answer = do(payer, what, {"lease_seconds": seconds})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "lease_seconds"


def test_a_claimed_task_is_taken(do, payer, rival):
    do(payer, "claim")
    assert refusal(do(rival, "claim")) == (409, "task_taken")


def test_a_second_claim_by_the_holder_says_that_it_holds_the_task(do, payer):
    until = do(payer, "claim").json()["lease_expires_at"]
    answer = do(payer, "claim")
    assert refusal(answer) == (409, "already_claimed")
    assert answer.json()["lease_expires_at"].removesuffix("+00:00") == until.removesuffix("Z")
    assert "Another agent" not in answer.json()["detail"]


def test_a_task_that_waits_for_a_human_can_not_be_claimed(api, bot, payer):
    waiting = TaskFactory(agent=bot)
    answer = api(payer).post(f"/tasks/{waiting.pk}/claim")
    assert refusal(answer) == (409, "invalid_transition")
    assert answer.json()["state"] == "awaiting_approval"


def test_only_the_role_that_was_asked_claims(do, bot):
    assert refusal(do(bot, "claim")) == (403, "role_not_held")
    assert refusal(do(AgentFactory(), "claim")) == (404, "not_found")


def test_a_person_claims_nothing(api, alice, task):
    answer = api(user=alice).post(f"/tasks/{task.pk}/claim")
    assert refusal(answer) == (403, "agents_only")


def test_who_claimed_completes(do, payer, api, bot, task):
    do(payer, "claim")
    answer = do(payer, "complete", {"result": {"paid": True}})
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    seen = api(bot).get(f"/tasks/{task.pk}").json()
    assert (seen["result"], seen["lease_expires_at"]) == ({"paid": True}, None)


@pytest.mark.parametrize("result", [None, "ok", 0, [1], {}, False])
def test_any_value_is_a_result(do, payer, result):
    do(payer, "claim")
    assert do(payer, "complete", {"result": result}).json()["result"] == result


def test_who_claimed_may_fail(do, payer):
    do(payer, "claim")
    answer = do(payer, "fail", {"error": {"reason": "The bank is closed."}})
    assert answer.json()["status"] == "failed"
    assert answer.json()["error"] == {"reason": "The bank is closed."}


@pytest.mark.parametrize("what", ["complete", "fail"])
def test_nobody_else_reports_on_a_claimed_task(do, bot, payer, rival, what):
    do(payer, "claim")
    for other in (rival, bot):
        assert refusal(do(other, what)) == (403, "not_claimant")
    assert Task.objects.get().status == "claimed"


@pytest.mark.parametrize("what", ["complete", "fail"])
def test_what_was_not_claimed_is_not_reported_on(do, payer, what):
    answer = do(payer, what)
    assert refusal(answer) == (409, "invalid_transition")
    assert answer.json()["state"] == "approved"
    assert answer.json()["allowed"] == ["cancel", "claim", "expire", "recall", "reopen"]


def test_what_is_finished_stays_finished(do, bot, payer):
    do(payer, "claim")
    do(payer, "complete", {"result": 1})
    for agent, what in ((payer, "claim"), (payer, "complete"), (payer, "fail"), (bot, "cancel")):
        answer = do(agent, what)
        assert refusal(answer) == (409, "invalid_transition")
        assert (answer.json()["state"], answer.json()["allowed"]) == ("completed", [])
    assert Task.objects.get().result == 1


REPORTS = pytest.mark.parametrize(
    ("what", "status"), [("complete", "completed"), ("fail", "failed")]
)


@REPORTS
def test_after_its_lease_ran_out_the_holder_reports(do, payer, what, status):
    do(payer, "claim")
    run_out()
    assert do(payer, what).json()["status"] == status


@REPORTS
@pytest.mark.parametrize("approval", ["human", "none"])
def test_after_its_release_the_last_holder_reports(
    api, task, bot, payer, run, settings, approval, what, status
):
    settings.APPROVAL_DEFAULT = "allow"
    if approval == "none":
        task = TaskFactory(agent=bot, task_type="report")
    path = f"/tasks/{task.pk}"
    api(payer).post(f"{path}/claim")
    run_out()
    assert run("release_leases")["tasks"] == 1
    assert api(payer).get(path).json()["status"] == "approved"
    answer = api(payer).post(f"{path}/{what}")
    assert (answer.status_code, answer.json()["status"]) == (200, status)
    assert answer.json()["claimed_by"] == "payer"
    assert run("verify_audit")["whole"]


@REPORTS
def test_what_was_claimed_in_time_never_expires_as_unused(do, api, payer, task, run, what, status):
    do(payer, "claim")
    set_columns(Task, approved_until=timezone.now() - timedelta(minutes=1))
    run_out()
    run("release_leases")
    assert run("expire_approvals", "--dry-run")["tasks"] == 0
    assert run("expire_approvals")["tasks"] == 0
    assert api(payer).get(f"/tasks/{task.pk}").json()["status"] == "approved"

    assert refusal(do(payer, "claim")) == (409, "approval_lapsed")
    assert do(payer, what).json()["status"] == status


def test_whose_router_was_revoked_is_reported_once_claimed(do, payer, bot, run):
    do(payer, "claim")
    run_out()
    run("release_leases")
    agents.revoke_agent(bot.pk, by=OPS)
    assert do(payer, "complete").json()["status"] == "completed"


@pytest.mark.parametrize("what", ["complete", "fail"])
def test_nobody_but_the_last_holder_reports_after_a_release(do, payer, rival, bot, run, what):
    mine, other = SessionFactory(agent=payer), SessionFactory(agent=payer)
    do(payer, "claim", headers={"X-Session-Id": str(mine.pk)})
    run_out()
    run("release_leases")
    for agent in (rival, bot):
        assert refusal(do(agent, what)) == (409, "invalid_transition")
    in_other = {"X-Session-Id": str(other.pk)}
    assert refusal(do(payer, what, headers=in_other)) == (409, "invalid_transition")
    assert do(payer, what, headers={"X-Session-Id": str(mine.pk)}).status_code == 200


def test_the_holder_extends_its_lease(do, payer, settings):
    first = do(payer, "claim", {"lease_seconds": 60}).json()["lease_expires_at"]
    answer = do(payer, "extend", {"lease_seconds": 3600})
    body = answer.json()
    assert (answer.status_code, body["status"], body["claimed_by"]) == (200, "claimed", "payer")
    assert body["lease_expires_at"] > first
    lease = Task.objects.get().lease_expires_at - Task.objects.get().updated_at
    assert abs(lease - timedelta(hours=1)) < timedelta(seconds=5)
    told = Event.objects.get(event_type="task.lease_extended")
    assert told.metadata == {"lease_expires_at": Task.objects.get().lease_expires_at.isoformat()}

    do(payer, "extend")
    lease = Task.objects.get().lease_expires_at - Task.objects.get().updated_at
    assert abs(lease - settings.TASK_LEASE) < timedelta(seconds=5)


def test_a_lease_that_ran_out_is_extended_while_nobody_else_holds_the_task(do, payer):
    do(payer, "claim")
    set_columns(Task, approved_until=timezone.now() - timedelta(minutes=1))
    run_out()
    assert do(payer, "extend").status_code == 200
    assert refusal(do(payer, "claim")) == (409, "already_claimed")


def test_only_the_holder_extends(do, api, task, payer, rival, bot, alice):
    assert refusal(do(payer, "extend")) == (409, "invalid_transition")
    mine, other = SessionFactory(agent=payer), SessionFactory(agent=payer)
    do(payer, "claim", headers={"X-Session-Id": str(mine.pk)})
    for agent in (rival, bot):
        assert refusal(do(agent, "extend")) == (403, "not_claimant")
    in_other = {"X-Session-Id": str(other.pk)}
    assert refusal(do(payer, "extend", headers=in_other)) == (403, "not_claimant")
    assert refusal(api(user=alice).post(f"/tasks/{task.pk}/extend")) == (403, "not_claimant")
    assert do(payer, "extend", headers={"X-Session-Id": str(mine.pk)}).status_code == 200


def test_what_was_released_is_claimed_again_and_not_extended(do, payer, run):
    do(payer, "claim")
    run_out()
    run("release_leases")
    answer = do(payer, "extend")
    assert refusal(answer) == (409, "invalid_transition")
    assert answer.json()["allowed"] == ["cancel", "claim", "expire", "recall", "reopen"]


def test_after_a_lease_ran_out_another_claims_and_the_release_is_recorded(
    api, payer, rival, bot, settings
):
    settings.APPROVAL_DEFAULT = "allow"
    task = TaskFactory(agent=bot, task_type="report")
    path = f"/tasks/{task.pk}"
    api(payer).post(f"{path}/claim")
    run_out()
    answer = api(rival).post(f"{path}/claim")

    assert answer.json()["claimed_by"] == "rival"
    assert refusal(api(payer).post(f"{path}/complete")) == (403, "not_claimant")
    assert api(rival).post(f"{path}/complete").status_code == 200
    story = Event.objects.filter(subject_id=task.pk).values_list("event_type", "actor")
    assert list(story)[1:] == [
        ("task.claimed", "agent:payer"),
        ("task.released", "system:lease"),
        ("task.claimed", "agent:rival"),
        ("task.completed", "agent:rival"),
    ]


def test_what_a_human_approved_is_executed_by_one_agent_alone(do, payer, rival, task):
    do(payer, "claim")
    run_out()

    assert refusal(do(rival, "claim")) == (409, "approval_consumed")
    assert do(payer, "claim").json()["claimed_by"] == "payer"
    assert do(payer, "complete").status_code == 200


def test_a_claim_in_a_session_is_that_sessions(do, payer):
    mine, other = SessionFactory(agent=payer), SessionFactory(agent=payer)
    do(payer, "claim", headers={"X-Session-Id": str(mine.pk)})
    answer = do(payer, "complete", headers={"X-Session-Id": str(other.pk)})
    assert refusal(answer) == (403, "not_claimant")
    assert do(payer, "complete", headers={"X-Session-Id": str(mine.pk)}).status_code == 200


def test_a_claim_in_a_strangers_session_is_refused(do, payer, rival):
    stranger = SessionFactory(agent=rival)
    answer = do(payer, "claim", headers={"X-Session-Id": str(stranger.pk)})
    assert refusal(answer) == (400, "unknown_session")


def test_a_cancelled_task_asks_nobody_any_more(api, bot):
    waiting = TaskFactory(agent=bot)
    answer = api(bot).post(f"/tasks/{waiting.pk}/cancel", {"reason": "The customer gave up."})

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert [a["status"] for a in answer.json()["approvals"]] == ["withdrawn"]
    assert Approval.objects.get().status == "withdrawn"
    told = Event.objects.get(event_type="task.cancelled")
    assert told.metadata == {"reason": "The customer gave up."}


def test_a_claimed_task_can_be_cancelled_and_then_not_completed(do, bot, payer):
    do(payer, "claim")
    assert do(bot, "cancel").json()["claimed_by"] is None
    assert refusal(do(payer, "complete")) == (409, "invalid_transition")


def test_only_who_routed_it_cancels(do, payer, api, alice, task):
    assert refusal(do(payer, "cancel")) == (403, "not_router")
    assert refusal(api(user=alice).post(f"/tasks/{task.pk}/cancel")) == (403, "not_router")


@pytest.fixture
def notice(bot):
    return TaskFactory(agent=bot, task_type="notification")


def test_a_notification_is_acknowledged_without_a_claim(api, payer, notice):
    answer = api(payer).post(f"/tasks/{notice.pk}/complete")
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert answer.json()["claimed_by"] == "payer"


def test_a_notification_is_nothing_to_execute(api, payer, notice):
    answer = api(payer).post(f"/tasks/{notice.pk}/claim")
    assert refusal(answer) == (409, "invalid_transition")
    assert answer.json()["allowed"] == ["complete"]


def test_a_notification_is_acknowledged_by_whom_it_was_sent_to(api, bot, notice):
    assert refusal(api(bot).post(f"/tasks/{notice.pk}/complete")) == (403, "role_not_held")


def test_a_notification_is_acknowledged_once(api, payer, rival, notice):
    api(payer).post(f"/tasks/{notice.pk}/complete")
    answer = api(rival).post(f"/tasks/{notice.pk}/complete")
    assert refusal(answer) == (409, "invalid_transition")
