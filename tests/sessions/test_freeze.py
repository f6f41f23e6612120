"""What is frozen is not claimed, and its deadlines stand still."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from approvals_app.decisions import deadlines
from approvals_app.models import Approval
from audit_app.base.actors import Actor
from audit_app.base.errors import NotFound
from audit_app.models import Event
from sessions_app import expiry, freezes
from sessions_app.errors import AlreadyFrozen, NoRightToFreeze, NotFrozen
from sessions_app.models import Freeze, Task
from tests.factories import (
    OPS,
    AgentFactory,
    ReviewerFactory,
    TaskFactory,
    approve_task,
    set_columns,
    the_approval,
)

WHY = "The agent pays twice."
TARGETS = {
    "everything": {"scope": "everything"},
    "the agent that routed it": {"scope": "agent", "agent": "bot"},
    "the agent that claims": {"scope": "agent", "agent": "payer"},
    "the role that it comes from": {"scope": "role", "role": "support-agent"},
    "the role that it is for": {"scope": "role", "role": "finance"},
}


def freeze(scope="everything", **target):
    return freezes.begin_freeze(scope, by=OPS, reason=WHY, **target)


def lift(stop):
    return freezes.lift_freeze(stop.pk, by=OPS, reason="It is repaired.")


@pytest.fixture
def task(alice, bot, payer):
    """A refund that alice approved."""
    return approve_task(TaskFactory(agent=bot), by=alice)


def ago(**time):
    return timezone.now() - timedelta(**time)


def work_off(batches):
    return sum(batches)


@pytest.mark.parametrize("target", TARGETS)
def test_a_frozen_task_is_not_claimed_until_it_is_thawed(target, api, task, payer):
    stop = freeze(**TARGETS[target])
    refused = api(payer).post(f"/tasks/{task.pk}/claim")
    assert (refused.status_code, refused.json()["code"]) == (409, "frozen")
    assert refused.json()["detail"] == (
        f"{stop.target} is frozen, so nothing of it can be claimed until it is thawed: {WHY}"
    )
    event = Event.objects.get(event_type="operation.refused")
    assert (event.metadata["code"], event.metadata["subject_id"]) == ("frozen", str(task.pk))
    assert Task.objects.get().status == "approved"

    lift(stop)
    assert api(payer).post(f"/tasks/{task.pk}/claim").status_code == 200


def test_what_is_not_covered_goes_on(api, task, payer):
    AgentFactory(name="rival", roles=["sre"])
    freeze("agent", agent="rival")
    freeze("role", role="sre")
    assert api(payer).post(f"/tasks/{task.pk}/claim").status_code == 200


def test_thawing_one_scope_leaves_the_others(api, task, payer):
    everything, role = freeze(), freeze("role", role="finance")
    lift(everything)
    assert api(payer).post(f"/tasks/{task.pk}/claim").json()["code"] == "frozen"
    lift(role)
    assert api(payer).post(f"/tasks/{task.pk}/claim").status_code == 200


def test_work_that_was_claimed_before_is_reported(api, task, payer):
    api(payer).post(f"/tasks/{task.pk}/claim")
    freeze()
    assert api(payer).post(f"/tasks/{task.pk}/complete", {"result": 1}).status_code == 200


def test_work_whose_lease_ran_out_before_is_reported(api, task, payer):
    api(payer).post(f"/tasks/{task.pk}/claim")
    set_columns(Task, lease_expires_at=ago(seconds=1))
    assert work_off(expiry.release_leases(by=OPS, batch_size=10)) == 1
    freeze()
    assert api(payer).post(f"/tasks/{task.pk}/complete", {"result": 1}).status_code == 200


def test_people_decide_while_it_is_frozen(alice, bot):
    task = TaskFactory(agent=bot)
    freeze()
    assert approve_task(task, by=alice).status == "approved"


def test_a_lease_stands_still(api, task, payer):
    api(payer).post(f"/tasks/{task.pk}/claim")
    stop = freeze()
    # Claimed two hours ago for 30 minutes, frozen after the first.
    set_columns(Task, updated_at=ago(minutes=120), lease_expires_at=ago(minutes=90))
    set_columns(Freeze, created_at=ago(minutes=119))
    assert work_off(expiry.release_leases(by=OPS, batch_size=10)) == 0
    assert api(payer).post(f"/tasks/{task.pk}/claim").json()["code"] == "already_claimed"

    lift(stop)
    assert work_off(expiry.release_leases(by=OPS, batch_size=10)) == 0
    assert api(payer).post(f"/tasks/{task.pk}/claim").json()["code"] == "already_claimed"
    set_columns(Freeze, created_at=ago(minutes=60))
    assert work_off(expiry.release_leases(by=OPS, batch_size=10)) == 1


def test_an_approval_that_nobody_used_stands_still(api, task, payer):
    stop = freeze()
    set_columns(Task, updated_at=ago(minutes=120), approved_until=ago(minutes=90))
    set_columns(Freeze, created_at=ago(minutes=119))
    assert api(payer).post(f"/tasks/{task.pk}/claim").json()["code"] == "frozen"
    assert work_off(expiry.expire_approved(by=OPS, batch_size=10)) == 0

    lift(stop)
    assert work_off(expiry.expire_approved(by=OPS, batch_size=10)) == 0
    assert api(payer).post(f"/tasks/{task.pk}/claim").status_code == 200


def test_an_approval_that_lapsed_before_stays_lapsed(api, task, payer):
    stop = freeze()
    set_columns(Task, updated_at=ago(minutes=120), approved_until=ago(minutes=90))
    set_columns(Freeze, created_at=ago(minutes=60))
    lift(stop)
    assert api(payer).post(f"/tasks/{task.pk}/claim").json()["code"] == "approval_lapsed"
    assert work_off(expiry.expire_approved(by=OPS, batch_size=10)) == 1


def test_two_freezes_at_once_count_once(api, task, payer):
    stops = [freeze(), freeze("role", role="finance")]
    set_columns(Task, updated_at=ago(minutes=120), approved_until=ago(minutes=90))
    set_columns(Freeze, created_at=ago(minutes=60))
    for stop in stops:
        lift(stop)
    assert work_off(expiry.expire_approved(by=OPS, batch_size=10)) == 1


def test_a_pending_approval_does_not_expire_before_it_is_thawed(bot):
    task = TaskFactory(agent=bot)
    stop = freeze("agent", agent="bot")
    set_columns(Approval, created_at=ago(minutes=120), expires_at=ago(minutes=90))
    assert work_off(deadlines.expire_approvals(by=OPS, batch_size=10)) == 0
    assert the_approval(task).status == "pending"
    lift(stop)
    assert work_off(deadlines.expire_approvals(by=OPS, batch_size=10)) == 1


def test_freezing_and_thawing_are_recorded(bot):
    stop = freeze("agent", agent="bot")
    lift(stop)
    began, lifted = Event.objects.filter(subject_id=stop.pk).order_by("seq")
    assert (began.event_type, began.actor) == ("freeze.began", str(OPS))
    assert began.metadata == {
        "scope": "agent",
        "agent_id": str(bot.pk),
        "role": None,
        "reason": WHY,
        "frozen_by": str(OPS),
    }
    assert (lifted.event_type, lifted.metadata) == ("freeze.lifted", {"reason": "It is repaired."})


def test_a_target_is_frozen_once_at_a_time(bot):
    stop = freeze()
    with pytest.raises(AlreadyFrozen, match="Everything is frozen already"):
        freeze()
    lift(stop)
    with pytest.raises(NotFrozen):
        lift(stop)
    freeze()


@pytest.mark.parametrize("target", [{"agent": "nobody"}, {"role": "no-such-role"}])
def test_a_target_that_does_not_exist_is_refused(target):
    (scope,) = target
    with pytest.raises(NotFound):
        freeze(scope, **target)


def test_a_person_needs_the_right(alice, bot):
    stop = freeze("agent", agent="bot")
    for attempt in (
        lambda by: freezes.begin_freeze("everything", by=by, reason=WHY),
        lambda by: freezes.lift_freeze(stop.pk, by=by),
    ):
        with pytest.raises(NoRightToFreeze):
            attempt(Actor.human(alice))
        with pytest.raises(NoRightToFreeze):
            attempt(bot.as_actor())
    guard = ReviewerFactory(username="guard")
    guard.user_permissions.add(Permission.objects.get(codename="freeze"))
    assert freezes.begin_freeze("everything", by=Actor.human(guard), reason=WHY).frozen_by == (
        "human:guard"
    )


def test_who_reviews_for_a_frozen_role_is_told_at_the_inbox(client, alice, charlie, bot):
    AgentFactory(name="rival", roles=["sre"])
    freeze("role", role="sre")
    for person, is_told in ((charlie, True), (alice, False)):
        client.force_login(person)
        assert (b"Role sre is frozen" in client.get("/admin/").content) is is_told


def test_the_page_of_a_decision_says_that_its_agent_is_frozen(client, alice, bot):
    approval = the_approval(TaskFactory(agent=bot))
    client.force_login(alice)
    path = f"/admin/approvals_app/approval/{approval.pk}/change/"
    assert b"is frozen</b>" not in client.get(path).content
    freeze("agent", agent="bot")
    assert b"Agent bot is frozen</b>" in client.get(path).content


def test_a_person_with_the_right_freezes_and_thaws_in_the_admin(client, alice, bot):
    client.force_login(alice)
    add = "/admin/sessions_app/freeze/add/"
    given = {"target": "agent:bot", "reason": WHY}
    assert client.post(add, given).status_code == 403
    alice.user_permissions.add(Permission.objects.get(codename="freeze"))
    assert client.post(add, {"target": "agent:bot"}).status_code == 400
    answer = client.post(add, given)
    stop = Freeze.objects.get()
    assert (answer.status_code, stop.target, stop.status) == (302, "Agent bot", "active")
    assert b"Agent bot is frozen already" in client.post(add, given).content

    lift_path = f"/admin/sessions_app/freeze/{stop.pk}/lift"
    assert b"Thaw agent bot?" in client.get(lift_path).content
    client.post(lift_path, {"reason": "It is repaired."})
    assert Freeze.objects.get().status == "lifted"
    assert b"was frozen" in client.get(answer.url).content
