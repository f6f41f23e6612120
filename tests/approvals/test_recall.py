"""Recall: a yes by mistake is taken back before an agent claims the task."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import DatabaseError, connection, transaction

from approvals_app.decisions.recall import may_recall
from approvals_app.models import Approval, Override
from audit_app.base.actors import Actor
from audit_app.models import Event
from audit_app.trail.recording import perform
from sessions_app.tasks.operations import cancel, claim
from sessions_app.tasks.revisions import reopen
from tests.commands.conftest import expect_failure
from tests.factories import TaskFactory, approve_task, find_approval, policy, the_approval

pytestmark = pytest.mark.usefixtures("whole")
LEASE = timedelta(minutes=5)


@pytest.fixture
def refund(bot, alice):
    """A task of the role finance that alice just approved."""
    return approve_task(TaskFactory(agent=bot), alice)


@pytest.fixture
def recall(api):
    """``recall(alice, task)``: over HTTP, by its last approval of the present revision."""

    def post(person, task, then="cancel", **body):
        approval = Approval.objects.filter(task=task, revision=task.revision).last()
        body = {"reason": "The wrong customer.", "then": then} | body
        return api(user=person).post(f"/approvals/{approval.pk}/recall", body)

    return post


def code(answer):
    return answer.status_code, answer.json()["code"]


def reload(row):
    return type(row).objects.get(pk=row.pk)


def test_whoever_approved_cancels_it(refund, recall, alice):
    answer = recall(alice, refund)
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    event = Event.objects.get(event_type="task.recalled")
    assert (event.actor, event.from_state, event.to_state) == (
        "human:alice",
        "approved",
        "cancelled",
    )
    assert event.metadata["reason"] == "The wrong customer."


def test_it_waits_again_and_no_earlier_vote_counts(refund, recall, say, alice, bob, api, payer):
    task = recall(bob, refund, "wait").json()
    assert (task["status"], task["revision"], task["approved_until"]) == (
        "awaiting_approval",
        2,
        None,
    )
    assert [(a["status"], a["revision"]) for a in task["approvals"]] == [
        ("approved", 1),
        ("pending", 2),
    ]
    assert task["approvals"][1]["payload_digest"] == refund.payload_digest
    assert "bob recalled the approval: The wrong customer." in task["approvals"][1]["reason"]
    assert code(api(payer).post(f"/tasks/{refund.pk}/claim", {})) == (409, "invalid_transition")
    # Who voted before may vote anew.
    again = find_approval(refund, "finance")
    assert say(alice, "approve", again).json()["status"] == "approved"
    assert api(payer).post(f"/tasks/{refund.pk}/claim", {}).status_code == 200


def test_each_group_is_asked_again_for_as_many(bot, say, alice, bob, erin, recall):
    policy(asks="2 finance, 1 legal")
    task = TaskFactory(agent=bot)
    for person, role in ((alice, "finance"), (bob, "finance"), (erin, "legal")):
        say(person, "approve", find_approval(task, role))
    assert recall(erin, task, "wait").status_code == 200
    pending = Approval.objects.pending().filter(task=task, revision=2).order_by("approver_role")
    assert [(a.approver_role, a.needed) for a in pending] == [("finance", 2), ("legal", 1)]
    first = Approval.objects.filter(task=task, revision=1).first()
    before, now = (each.expires_at - each.created_at for each in (first, pending[0]))
    assert abs(now - before) < timedelta(seconds=1)


def test_after_a_recall_silence_is_no_yes(bot, late, run, alice, recall):
    policy(asks="1 finance", on_timeout="approve_without_a_human", deadline="1h")
    task = TaskFactory(agent=bot)
    late(the_approval(task))
    run("expire_approvals")
    assert reload(task).status == "approved"
    assert recall(alice, task, "wait").status_code == 200
    late(find_approval(task, "finance"))
    run("expire_approvals")
    assert reload(task).status == "expired"


def test_only_who_voted_or_was_asked(refund, recall, alice, bob, charlie, root, api, payer):
    assert recall(charlie, refund).status_code == 404
    assert code(recall(root, refund)) == (403, "no_right_to_recall")
    approval = the_approval(refund)
    body = {"reason": "x", "then": "cancel"}
    assert code(api(payer).post(f"/approvals/{approval.pk}/recall", body)) == (403, "humans_only")
    # A voter who left the group still has their own yes to take back.
    alice.groups.clear()
    assert may_recall(approval, alice.pk)
    assert not may_recall(approval, charlie.pk)


def test_a_reason_and_a_choice_are_needed(refund, recall, alice):
    assert recall(alice, refund, reason="").status_code == 400
    assert recall(alice, refund, "forget").status_code == 400


def test_after_the_claim_it_is_too_late_and_it_says_since_when(refund, recall, alice, payer):
    claim(refund.pk, by=payer.as_actor(), lease=LEASE)
    claimed = Event.objects.get(event_type="task.claimed")
    answer = recall(alice, refund)
    assert code(answer) == (409, "recall_too_late")
    problem = answer.json()
    assert (problem["claimed_by"], problem["claimed_at"]) == (
        "payer",
        claimed.timestamp.isoformat(),
    )
    assert reload(refund).status == "claimed"


def test_a_lease_that_ran_out_makes_it_no_earlier(refund, recall, alice, payer, run):
    """The agent may have done it."""
    claim(refund.pk, by=payer.as_actor(), lease=-LEASE)
    run("release_leases")
    assert reload(refund).status == "approved"
    assert code(recall(alice, refund)) == (409, "recall_too_late")


def test_what_is_not_approved_is_not_recalled(bot, alice, recall, refund):
    waiting = TaskFactory(agent=bot)
    assert code(recall(alice, waiting)) == (409, "invalid_transition")
    cancel(refund.pk, by=bot.as_actor())
    assert code(recall(alice, refund)) == (409, "invalid_transition")


def test_an_earlier_approval_recalls_nothing_that_was_approved_since(
    refund, recall, say, alice, bob
):
    recall(alice, refund, "wait")
    say(bob, "approve", find_approval(refund, "finance"))
    assert code(recall(alice, refund)) == (409, "already_decided")
    assert reload(refund).status == "approved"


def test_what_was_approved_alone_is_cancelled_and_still_reviewed(bot, say, breaker, bob, recall):
    task = TaskFactory(agent=bot)
    say(breaker, "break_glass", the_approval(task), reason="Fire.")
    assert code(recall(breaker, task, "wait")) == (409, "review_pending")
    assert recall(breaker, task).json()["status"] == "cancelled"
    review = Approval.objects.get(task=task, override__isnull=False)
    assert say(bob, "reject", review).json()["status"] == "rejected"
    assert Override.objects.get().status == "condemned"


def test_a_yes_that_upheld_an_override_counts_no_more(bot, say, breaker, bob, recall):
    task = TaskFactory(agent=bot)
    say(breaker, "break_glass", the_approval(task), reason="Fire.")
    say(bob, "approve", Approval.objects.get(task=task, override__isnull=False))
    assert recall(bob, task, "wait").json()["status"] == "awaiting_approval"
    assert [a.override_id for a in Approval.objects.pending()] == [None]


def test_a_command_recalls_in_a_persons_name(refund, run, alice, charlie):
    arguments = [str(refund.pk), "--reason", "The wrong customer."]
    for by, task, why in (
        ("nobody", refund.pk, "There is no user called nobody."),
        ("charlie", refund.pk, "No such approval"),
        ("alice", uuid4(), "No such task"),
    ):
        _, sentence = expect_failure("recall_task", str(task), *arguments[1:], "--by", by)
        assert why in sentence
    facts = run("recall_task", *arguments, "--by", "alice", "--then", "wait")
    assert (facts["status"], facts["revision"]) == ("awaiting_approval", 2)
    assert Event.objects.get(event_type="task.recalled").actor == "human:alice"


def reopen_unchecked(task, by):
    reopen(task, by=by, details={"reason": "x"})


def cancel_unchecked(task, by):
    perform(task.recall, by=by, details={"reason": "x"})


@pytest.fixture
def expect_refusal(superuser):
    """``expect_refusal(change, task, by, why)``: the database refuses an unchecked recall."""

    def attempt(change, task, by, why):
        with pytest.raises(DatabaseError, match=why), transaction.atomic():
            change(reload(task), by)
        assert not Event.objects.filter(event_type="task.recalled").exists()

    return attempt


@pytest.mark.parametrize("change", [cancel_unchecked, reopen_unchecked])
def test_the_database_refuses_who_was_not_asked(refund, expect_refusal, change, charlie, bot):
    expect_refusal(change, refund, Actor.human(charlie), "may not recall")
    expect_refusal(change, refund, bot.as_actor(), "recalled by nobody")


@pytest.mark.parametrize("change", [cancel_unchecked, reopen_unchecked])
def test_the_database_refuses_what_was_claimed(refund, expect_refusal, change, alice, payer, run):
    claim(refund.pk, by=payer.as_actor(), lease=-LEASE)
    run("release_leases")
    expect_refusal(change, refund, Actor.human(alice), "it can not be recalled")


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ("approved_until = now()", "how long an approval holds"),
        ("revision = revision + 1, policy = 'another'", "waits with the payload that it has"),
        ("revision = revision + 2", "waits with the payload that it has"),
    ],
)
def test_the_database_refuses_another_payload(refund, superuser, columns, why):
    statement = f"UPDATE tasks SET status = 'awaiting_approval', {columns}"
    with pytest.raises(DatabaseError, match=why), connection.cursor() as cursor:
        cursor.execute(statement)
