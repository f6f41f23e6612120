"""Approvals past their deadline and leases that ran out."""

from datetime import timedelta

import pytest

from approvals_app.models import Approval
from audit_app.models import Event
from sessions_app.models import Task
from sessions_app.tasks import operations as task_operations
from tests.commands.conftest import run_for_output
from tests.factories import TaskFactory, the_approval


@pytest.fixture(autouse=True)
def nobody_is_asked(settings):
    settings.APPROVAL_DEFAULT = "allow"


def create_claimed_task(bot, payer):
    task = TaskFactory(agent=bot, task_type="cleanup")
    return task_operations.claim(task.pk, by=payer.as_actor(), lease=timedelta(minutes=5))


def test_an_approval_past_its_deadline_expires_with_its_task(bot, backdate, run):
    late, fresh = TaskFactory.create_batch(2, agent=bot)
    backdate(the_approval(late), days=8)

    assert (
        run_for_output("expire_approvals", "--dry-run")
        == "Would expire 1 approval and 0 tasks; changed nothing.\n"
    )
    assert the_approval(late).status == "pending"
    assert run("expire_approvals") == {
        "approvals": 1,
        "tasks": 0,
        "dry_run": False,
        "stopped": False,
    }

    assert (the_approval(late).status, the_approval(fresh).status) == ("expired", "pending")
    assert Task.objects.get(pk=late.pk).status == "expired"
    assert Event.objects.get(event_type="approval.expired").actor == "system:expire_approvals"
    assert run_for_output("expire_approvals") == "Expired 0 approvals and 0 tasks.\n"
    assert run("verify_audit")["whole"]


def test_an_approval_that_somebody_is_deciding_is_passed_over(bot, backdate, run, elsewhere):
    first, second = TaskFactory.create_batch(2, agent=bot)
    backdate(the_approval(first), the_approval(second), days=8)
    elsewhere.execute("SELECT FROM tasks WHERE id = %s FOR NO KEY UPDATE", [first.pk])

    assert run("expire_approvals", "--batch-size", "5")["approvals"] == 1
    assert Approval.objects.pending().get().task_id == first.pk

    elsewhere.rollback()
    assert run("expire_approvals")["approvals"] == 1


def test_a_task_whose_lease_ran_out_can_be_claimed_again(bot, payer, backdate, run):
    task = create_claimed_task(bot, payer)

    assert run("release_leases")["tasks"] == 0
    backdate(task, minutes=6)
    assert (
        run_for_output("release_leases", "--dry-run") == "Would release 1 task; changed nothing.\n"
    )
    assert run("release_leases") == {"tasks": 1, "dry_run": False, "stopped": False}

    assert Task.objects.get(pk=task.pk).status == "approved"
    assert (
        task_operations.claim(
            task.pk, by=payer.as_actor(), lease=timedelta(minutes=5)
        ).claimed_by_id
        == payer.pk
    )
    assert run("verify_audit")["whole"]
