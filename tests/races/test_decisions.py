"""Two people decide at the same moment, or one decides while the agent takes the task back."""

from functools import partial

import psycopg
import pytest
from psycopg import errors

from approvals_app.decisions import operations as approvals
from approvals_app.errors import AlreadyDecided, SeparationOfDuties
from approvals_app.models import Approval
from audit_app.base.actors import Actor
from audit_app.base.errors import InvalidTransition
from audit_app.models import Event
from sessions_app import agents
from sessions_app.models import Task
from sessions_app.tasks import operations as task_operations
from tests.commands.conftest import wait_until_something_waits_for
from tests.database import database_url
from tests.factories import OPS, TaskFactory, the_approval
from tests.races.together import together, waiting

ROUNDS = 50


def decide(operation, approval, user):
    return partial(
        operation, approval.pk, by=Actor.human(user), payload_digest=approval.payload_digest
    )


@pytest.mark.parametrize("second", [approvals.approve, approvals.reject])
def test_the_second_reviewer_is_told_who_was_first(bot, alice, bob, second):
    for _ in range(ROUNDS):
        task = TaskFactory(agent=bot)
        approval = the_approval(task)
        outcomes = together(
            [decide(approvals.approve, approval, alice), decide(second, approval, bob)]
        )

        refusal = next(each for each in outcomes if isinstance(each, Exception))
        decided = next(each for each in outcomes if isinstance(each, Approval))
        assert isinstance(refusal, AlreadyDecided)
        assert refusal.data["decided_by"] == decided.decided_by.username
        assert Task.objects.get(pk=task.pk).status == decided.status
    made = Event.objects.filter(event_type__in=["approval.approved", "approval.rejected"])
    assert made.count() == Approval.objects.exclude(status="pending").count() == ROUNDS


def test_two_yeses_at_once_to_a_task_that_needs_both_approve_it(bot, alice, charlie):
    for _ in range(ROUNDS):
        task = TaskFactory(agent=bot)
        first = the_approval(task)
        second = approvals.request(task.pk, by=bot.as_actor(), approver_role="sre")
        together(
            [
                decide(approvals.approve, first, alice),
                decide(approvals.approve, second, charlie),
            ]
        )
        assert Task.objects.get(pk=task.pk).status == "approved"
    assert Event.objects.filter(event_type="task.approved").count() == ROUNDS


def test_who_became_the_owner_while_they_waited_for_the_lock_does_not_decide(bot, alice):
    task = TaskFactory(agent=bot)
    approval = the_approval(task)
    with psycopg.connect(database_url()) as holder:
        holder.execute("SELECT FROM tasks WHERE id = %s FOR NO KEY UPDATE", [task.pk])

        def give_and_let_go():
            wait_until_something_waits_for(holder)
            given = {"roles": bot.roles, "owner_id": alice.pk, "subject": None}
            agents.change_agent(bot.pk, by=OPS, **given)
            holder.rollback()

        outcome, failed = together([decide(approvals.approve, approval, alice), give_and_let_go])
    assert failed is None
    assert isinstance(outcome, SeparationOfDuties)
    assert the_approval(task).status == "pending"


def test_an_approval_and_a_cancellation_leave_one_story(bot, alice):
    for _ in range(ROUNDS):
        task = TaskFactory(agent=bot)
        approval = the_approval(task)
        said, cancelled = together(
            [
                decide(approvals.approve, approval, alice),
                partial(task_operations.cancel, task.pk, by=bot.as_actor()),
            ]
        )

        # An approved task can still be cancelled; a cancelled one can't be approved any more.
        assert isinstance(cancelled, Task)
        assert Task.objects.get(pk=task.pk).status == "cancelled"
        expected = "approved" if isinstance(said, Approval) else "withdrawn"
        assert Approval.objects.get(pk=approval.pk).status == expected
        assert isinstance(said, Approval | AlreadyDecided)


def test_a_rejection_and_a_cancellation_leave_one_story(bot, alice):
    for _ in range(ROUNDS):
        task = TaskFactory(agent=bot)
        approval = the_approval(task)
        outcomes = together(
            [
                decide(approvals.reject, approval, alice),
                partial(task_operations.cancel, task.pk, by=bot.as_actor()),
            ]
        )

        refusals = [each for each in outcomes if isinstance(each, Exception)]
        assert len(refusals) == 1
        assert isinstance(refusals[0], AlreadyDecided | InvalidTransition)
        states = (
            Task.objects.get(pk=task.pk).status,
            Approval.objects.get(pk=approval.pk).status,
        )
        assert states in {("rejected", "rejected"), ("cancelled", "withdrawn")}


def test_one_more_human_is_asked_before_the_decision_or_not_at_all(bot, alice):
    for _ in range(ROUNDS):
        task = TaskFactory(agent=bot)
        together(
            [
                decide(approvals.approve, the_approval(task), alice),
                partial(approvals.request, task.pk, by=bot.as_actor(), approver_role="sre"),
            ]
        )
        waits = Approval.objects.filter(task=task, status="pending").exists()
        status = Task.objects.get(pk=task.pk).status
        assert status == ("awaiting_approval" if waits else "approved")


def test_the_task_is_locked_before_its_approval(bot, alice):
    approval = the_approval(TaskFactory(agent=bot))
    with psycopg.connect(database_url()) as other:
        lock = "SELECT 1 FROM {} WHERE id = %s FOR UPDATE NOWAIT"
        other.execute(lock.format("approvals"), [approval.pk])
        with waiting(decide(approvals.approve, approval, alice)) as decision:
            with psycopg.connect(database_url()) as third, pytest.raises(errors.LockNotAvailable):
                third.execute(lock.format("tasks"), [approval.task_id])
            other.rollback()
            assert decision.result(timeout=30).status == "approved"
