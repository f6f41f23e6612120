"""Who may decide, on what, and until when: the same for superusers."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from approvals_app.models import Approval
from audit_app.models import Event
from sessions_app.models import Task
from tests.factories import AgentFactory, ReviewerFactory, TaskFactory, set_columns, the_approval


def decide(caller, approval, verdict="approve", **more):
    body = {"payload_digest": approval.payload_digest, **more}
    return caller.post(f"/approvals/{approval.pk}/{verdict}", body)


def is_undecided(task):
    """Nothing was decided; only refusals were recorded since."""
    assert Task.objects.get(pk=task.pk).status == "awaiting_approval"
    assert set(task.approvals.values_list("status", flat=True)) == {"pending"}
    return not Event.objects.filter(event_type__in=["approval.approved", "task.approved"]).exists()


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_an_agents_key_never_decides(api, bot, payer, verdict):
    task = TaskFactory(agent=bot)
    for agent in (bot, payer):
        answer = decide(api(agent), the_approval(task), verdict)
        assert answer.status_code == 403
        assert answer.json()["code"] == "humans_only"
    assert is_undecided(task)


def test_the_owner_of_the_agent_does_not_decide_on_its_task(api, alice, bob):
    task = TaskFactory(agent=AgentFactory(owner=alice))
    answer = decide(api(user=alice), the_approval(task))

    assert (answer.status_code, answer.json()["code"]) == (403, "separation_of_duties")
    assert is_undecided(task)
    assert decide(api(user=bob), the_approval(task)).status_code == 200


def test_one_person_has_one_vote_on_a_task(api, bot):
    dora = ReviewerFactory(username="dora", roles=["finance", "sre"])
    task = TaskFactory(agent=bot)
    first = the_approval(task)
    asked = {"task_id": str(task.pk), "approver_role": "sre"}
    second = Approval.objects.get(pk=api(bot).post("/approvals", asked).json()["approval_id"])

    assert decide(api(user=dora), first).status_code == 200
    answer = decide(api(user=dora), second)
    assert (answer.status_code, answer.json()["code"]) == (403, "one_voice_each")
    assert Task.objects.get(pk=task.pk).status == "awaiting_approval"


def test_who_is_not_asked_does_not_see_the_approval(api, charlie, bot):
    task = TaskFactory(agent=bot)
    assert decide(api(user=charlie), the_approval(task)).status_code == 404
    assert is_undecided(task)


def test_who_sees_the_task_but_is_not_of_the_group_does_not_decide(api, charlie, bot):
    task = TaskFactory(agent=bot)
    asked = {"task_id": str(task.pk), "approver_role": "sre"}
    first = the_approval(task)
    api(bot).post("/approvals", asked)

    answer = decide(api(user=charlie), first)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_eligible")
    assert answer.json()["role"] == "finance"
    assert is_undecided(task)


def test_who_left_the_group_while_the_page_was_open_does_not_decide(api, alice, bot):
    task = TaskFactory(agent=bot)
    page = api(user=alice)
    seen = page.get(f"/approvals/{the_approval(task).pk}")
    alice.groups.clear()

    answer = decide(page, the_approval(task))
    assert seen.status_code == 200
    assert answer.status_code in (403, 404)
    assert is_undecided(task)


def test_a_superuser_without_the_group_does_not_decide(api, bot):
    root = User.objects.create_superuser("root")
    task = TaskFactory(agent=bot)
    answer = decide(api(user=root), the_approval(task))

    assert (answer.status_code, answer.json()["code"]) == (403, "not_eligible")
    assert is_undecided(task)


def test_a_superuser_does_not_decide_on_a_task_of_their_own_agent(api, bot):
    root = User.objects.create_superuser("root")
    root.groups.set(ReviewerFactory(roles=["finance"]).groups.all())
    task = TaskFactory(agent=AgentFactory(owner=root))

    assert decide(api(user=root), the_approval(task)).json()["code"] == "separation_of_duties"
    assert is_undecided(task)


def test_an_inactive_user_does_not_decide(api, alice, bot):
    task = TaskFactory(agent=bot)
    page = api(user=alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)

    assert decide(page, the_approval(task)).status_code in (401, 403)
    assert is_undecided(task)


def test_nobody_at_all_does_not_decide(api, bot):
    task = TaskFactory(agent=bot)
    assert decide(api(), the_approval(task)).status_code == 401
    assert is_undecided(task)


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_another_digest_decides_nothing(api, alice, bot, verdict):
    task = TaskFactory(agent=bot)
    other = the_approval(TaskFactory(agent=bot, description="Another refund."))
    path = f"/approvals/{the_approval(task).pk}/{verdict}"
    for digest in (other.payload_digest, "0" * 64):
        answer = api(user=alice).post(path, {"payload_digest": digest})
        assert (answer.status_code, answer.json()["code"]) == (409, "payload_digest_mismatch")
    assert is_undecided(task)


@pytest.mark.parametrize("given", [None, "", "0" * 63, "G" * 64, "A" * 64, 7, "0" * 64 + "\n"])
def test_what_is_no_digest_is_refused_by_name(api, alice, bot, given):
    task = TaskFactory(agent=bot)
    path = f"/approvals/{the_approval(task).pk}/approve"
    answer = api(user=alice).post(path, {"payload_digest": given})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "payload_digest"
    assert is_undecided(task)


def test_a_digest_must_be_given(api, alice, bot):
    task = TaskFactory(agent=bot)
    answer = api(user=alice).post(f"/approvals/{the_approval(task).pk}/approve", {"notes": "Yes."})
    assert answer.status_code == 400
    assert is_undecided(task)


@pytest.mark.parametrize("second", ["approve", "reject"])
def test_the_second_decision_is_told_who_was_first(api, alice, bob, bot, second):
    task = TaskFactory(agent=bot)
    decide(api(user=alice), the_approval(task))
    for caller in (bob, alice):
        answer = decide(api(user=caller), the_approval(task), second)
        assert (answer.status_code, answer.json()["code"]) == (409, "already_decided")
        assert answer.json()["decided_by"] == "alice"
        assert answer.json()["state"] == "approved"
        assert answer.json()["allowed"] == []
        assert "alice" in answer.json()["detail"]
    assert Event.objects.filter(event_type="approval.approved").count() == 1


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_after_the_deadline_nothing_is_decided_even_before_anything_swept(api, alice, bot, verdict):
    task = TaskFactory(agent=bot)
    set_columns(Approval, expires_at=timezone.now() - timedelta(seconds=1))
    answer = decide(api(user=alice), the_approval(task), verdict)

    assert (answer.status_code, answer.json()["code"]) == (409, "approval_expired")
    assert is_undecided(task)


def test_a_refusal_is_recorded_with_who_and_why(api, bot, payer):
    task = TaskFactory(agent=bot)
    decide(api(payer), the_approval(task))

    told = Event.objects.get(event_type="operation.refused")
    assert told.actor == "agent:payer"
    assert told.trace_id == task.trace_id
    assert told.metadata["operation"] == "approval.approve"
    assert told.metadata["code"] == "humans_only"
    assert told.metadata["subject_id"] == str(the_approval(task).pk)


def test_a_group_with_an_odd_name_decides_for_its_own_tasks(api, bot):
    role = "Büro «Nord», 2. Etage"
    erika = ReviewerFactory(username="erika", roles=[role])
    task = TaskFactory(agent=bot, target=role)
    assert decide(api(user=erika), the_approval(task)).status_code == 200
