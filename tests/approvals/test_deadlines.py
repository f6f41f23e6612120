"""What happens when nobody decides in time, and before."""

from datetime import timedelta

import pytest
from django.utils import timezone

from approvals_app.models import Approval
from audit_app.models import Event
from sessions_app.models import Task
from tests.factories import TaskFactory, approve_task, find_approval, policy, set_columns

pytestmark = pytest.mark.usefixtures("whole")


def overdue():
    set_columns(Approval, expires_at=timezone.now() - timedelta(seconds=1))


def rows(task):
    found = Approval.objects.filter(task=task).order_by("created_at")
    return [(a.approver_role, a.needed, a.status) for a in found]


def status(task):
    return Task.objects.get(pk=task.pk).status


def test_nobody_said_yes_in_time_which_is_a_no(bot, run):
    task = TaskFactory(agent=bot)
    overdue()
    assert run("expire_approvals")["approvals"] == 1
    assert (rows(task), status(task)) == ([("finance", 1, "expired")], "expired")


def test_another_group_is_asked_step_by_step_to_the_end(bot, run, say, charlie):
    steps = [
        {"role": "legal", "count": 2, "deadline": "2h"},
        {"role": "sre", "deadline": "1h"},
    ]
    policy(asks="1 finance", deadline="4h", escalate=steps)
    task = TaskFactory(agent=bot)
    for expected in ("legal", "sre"):
        overdue()
        run("expire_approvals")
        waiting = Approval.objects.pending().get(task=task)
        assert waiting.approver_role == expected
        assert status(task) == "awaiting_approval"
    assert [r[2] for r in rows(task)] == ["expired", "expired", "pending"]
    left = waiting.expires_at - timezone.now()
    assert timedelta(minutes=55) < left <= timedelta(hours=1)

    assert say(charlie, "approve", waiting).json()["status"] == "approved"
    assert status(task) == "approved"


def test_a_step_may_ask_the_role_that_the_task_is_for(bot, run):
    policy(asks="1 legal", escalate=[{"role": "$to_role", "deadline": "1h"}])
    task = TaskFactory(agent=bot)
    overdue()
    run("expire_approvals")
    assert Approval.objects.pending().get(task=task).approver_role == "finance"


def test_after_the_last_step_it_ends(bot, run):
    policy(asks="1 finance", escalate=[{"role": "sre", "deadline": "1h"}])
    task = TaskFactory(agent=bot)
    for _ in range(2):
        overdue()
        run("expire_approvals")
    assert [r[2] for r in rows(task)] == ["expired", "expired"]
    assert status(task) == "expired"


def test_the_same_group_can_be_asked_again(bot, run, say, alice):
    policy(asks="1 finance", escalate=[{"role": "finance", "deadline": "1h"}])
    task = TaskFactory(agent=bot)
    overdue()
    run("expire_approvals")
    assert say(alice, "approve", find_approval(task, "finance")).status_code == 200
    assert status(task) == "approved"


@pytest.mark.parametrize(("count", "merged"), [(1, True), (2, False)])
def test_a_group_that_is_asked_already_is_asked_once(
    bot, run, say, late, count, merged, dave, erin
):
    steps = [{"role": "legal", "count": count, "deadline": "1h"}]
    policy(asks="1 finance, 1 legal", escalate=steps)
    task = TaskFactory(agent=bot)
    first = find_approval(task, "finance")
    legal = find_approval(task, "legal")
    set_columns(Approval, expires_at=timezone.now() + timedelta(days=1))
    late(first)
    run("expire_approvals")
    (waiting,) = Approval.objects.pending().filter(task=task)
    assert (waiting.pk == legal.pk) is merged
    assert waiting.needed == count
    for person in (dave, erin)[:count]:
        assert say(person, "approve", waiting).status_code == 200
    assert status(task) == "approved"


def test_silence_is_a_yes_only_where_the_policy_says_so(bot, run):
    policy(asks="1 finance", on_timeout="approve_without_a_human")
    task = TaskFactory(agent=bot)
    overdue()
    run("expire_approvals")
    (approval,) = Approval.objects.filter(task=task)
    assert (approval.status, approval.decided_by, status(task)) == ("approved", None, "approved")
    told = Event.objects.get(event_type="approval.approved_by_deadline")
    assert told.actor == "system:expire_approvals"


def test_silence_of_one_group_waits_for_the_other(bot, run, say, late, erin):
    policy(asks="1 finance, 1 legal", on_timeout="approve_without_a_human")
    task = TaskFactory(agent=bot)
    legal = find_approval(task, "legal")
    late(find_approval(task, "finance"))
    run("expire_approvals")
    assert status(task) == "awaiting_approval"
    say(erin, "approve", legal)
    assert status(task) == "approved"


def test_people_are_reminded_before(bot, run, erin):
    policy(asks="1 legal", deadline="4h", reminders=["1h", "15m"])
    task = TaskFactory(agent=bot)
    approval = find_approval(task, "legal")
    assert approval.remind_at == approval.expires_at - timedelta(hours=1)
    assert run("remind_approvals")["approvals"] == 0

    set_columns(Approval, remind_at=timezone.now() - timedelta(seconds=1))
    assert run("remind_approvals", "--dry-run")["approvals"] == 1
    assert run("remind_approvals")["approvals"] == 1
    approval.refresh_from_db(fields=["remind_at"])
    assert approval.remind_at == approval.expires_at - timedelta(hours=1)
    assert Event.objects.filter(event_type="approval.reminded").count() == 1


def test_a_reminder_that_came_last_comes_no_more(bot, run):
    policy(asks="1 legal", deadline="4h", reminders=["1h"])
    approval = find_approval(TaskFactory(agent=bot), "legal")
    late = timezone.now() + timedelta(minutes=5)
    set_columns(Approval, expires_at=late, remind_at=timezone.now() - timedelta(seconds=1))
    run("remind_approvals")
    approval.refresh_from_db(fields=["remind_at"])
    assert approval.remind_at is None


def test_an_approval_that_nobody_used_ends_and_stays_as_evidence(api, bot, payer, alice, run):
    policy(asks="1 finance", valid_for="1h")
    task = approve_task(TaskFactory(agent=bot), by=alice)
    left = Task.objects.get().approved_until - timezone.now()
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    set_columns(Task, approved_until=timezone.now() - timedelta(seconds=1))

    answer = api(payer).post(f"/tasks/{task.pk}/claim")
    assert (answer.status_code, answer.json()["code"]) == (409, "approval_lapsed")
    assert run("expire_approvals", "--dry-run")["tasks"] == 1
    assert run("expire_approvals")["tasks"] == 1
    assert (rows(task), status(task)) == ([("finance", 1, "approved")], "expired")


@pytest.fixture
def silent(bot):
    policy(asks="2 finance", on_timeout="approve_without_a_human", deny_threshold=3)
    return TaskFactory(agent=bot)


@pytest.mark.parametrize(
    ("said", "body"), [("reject", {}), ("request_changes", {"message": "Less."})]
)
def test_silence_is_no_yes_where_somebody_spoke_against_it(silent, run, say, alice, said, body):
    assert say(alice, said, find_approval(silent, "finance"), **body).status_code == 200
    overdue()
    run("expire_approvals")
    assert (rows(silent), status(silent)) == ([("finance", 2, "expired")], "expired")


def test_silence_is_no_answer(bot, run):
    policy(asks="1 finance", on_timeout="approve_without_a_human")
    task = TaskFactory(agent=bot, task_type="question", data={"question": "Which?"})
    overdue()
    run("expire_approvals")
    assert status(task) == "expired"


def test_changes_that_were_asked_for_stand_whoever_is_asked_instead(bot, run, say, alice, charlie):
    policy(asks="2 finance", escalate=[{"role": "sre", "deadline": "1d"}])
    task = TaskFactory(agent=bot)
    first = find_approval(task, "finance")
    say(alice, "request_changes", first, message="Less.")
    overdue()
    run("expire_approvals")
    answer = say(charlie, "approve", find_approval(task, "sre"))
    assert (answer.status_code, answer.json()["code"]) == (409, "changes_requested")
    assert say(alice, "withdraw_vote", first).status_code == 200
    assert say(charlie, "approve", find_approval(task, "sre")).json()["status"] == "approved"


def test_noes_count_whoever_is_asked_instead(bot, run, say, late, alice, bob):
    """legal's deadline passes, finance is asked for one more, and has said no once before."""
    steps = [{"role": "finance", "count": 3, "deadline": "1d"}]
    policy(asks="2 finance, 1 legal", deny_threshold=2, escalate=steps)
    task = TaskFactory(agent=bot)
    say(alice, "reject", find_approval(task, "finance"))
    late(find_approval(task, "legal"))
    run("expire_approvals")
    again = say(alice, "reject", find_approval(task, "finance"))
    assert (again.status_code, again.json()["code"]) == (403, "one_voice_each")
    say(bob, "reject", find_approval(task, "finance"))
    assert status(task) == "rejected"


def test_after_the_deadline_nothing_is_revised(api, bot, alice, say):
    task = TaskFactory(agent=bot)
    overdue()
    answer = api(bot).post(f"/tasks/{task.pk}/revise", {"description": "Later."})
    assert (answer.status_code, answer.json()["code"]) == (409, "approval_expired")
