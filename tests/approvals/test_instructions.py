"""What a policy tells its reviewers to do first, and that they confirm it."""

import pytest

from approvals_app.decisions.deadlines import expire_approvals
from approvals_app.errors import NotConfirmed
from approvals_app.models import Approval
from audit_app.models import Event
from tests.factories import OPS, TaskFactory, find_approval, policy

pytestmark = pytest.mark.usefixtures("whole")

CALL = "Call the beneficiary under a number that is known from before."


def code(answer):
    return answer.status_code, answer.json()["code"]


@pytest.fixture
def careful(bot):
    policy(asks="1 finance", instructions=CALL)
    return find_approval(TaskFactory(agent=bot), "finance")


def test_a_yes_that_does_not_confirm_it_is_refused(careful, say, alice):
    for body in ({}, {"confirmed": False}):
        answer = say(alice, "approve", careful, **body)
        assert code(answer) == (400, NotConfirmed.code)
        assert answer.json()["errors"][0]["field"] == "confirmed"
        assert CALL in answer.json()["detail"]


def test_only_true_confirms_and_nothing_that_resembles_it(careful, say, alice):
    for resembling in ("yes", "true", "on", 1):
        answer = say(alice, "approve", careful, confirmed=resembling)
        assert code(answer) == (400, "invalid_request")
        assert answer.json()["errors"][0]["field"] == "confirmed"


def test_what_was_confirmed_is_kept_with_the_vote_and_in_the_trail(careful, say, alice):
    assert say(alice, "approve", careful, confirmed=True).json()["status"] == "approved"
    assert careful.votes.get().confirmed_instruction == CALL
    assert Event.objects.get(event_type="vote.cast").metadata["confirmed_instruction"] == CALL


def test_a_no_confirms_nothing(careful, say, alice):
    assert say(alice, "reject", careful).json()["status"] == "rejected"
    assert careful.votes.get().confirmed_instruction == ""


def test_in_bulk_nothing_is_confirmed(careful, api, alice):
    decision = {"approval_id": str(careful.pk), "payload_digest": careful.payload_digest}
    body = {"decisions": [decision | {"decision": "approve"}]}
    [result] = api(user=alice).post("/approvals/bulk", body).json()["results"]
    assert result["problem"]["code"] == NotConfirmed.code


def test_a_policy_that_only_describes_itself_asks_for_nothing(bot, say, alice):
    policy(asks="1 finance", description="Small refunds.")
    approval = find_approval(TaskFactory(agent=bot), "finance")
    assert (approval.instruction, approval.must_confirm) == ("Small refunds.", False)
    assert say(alice, "approve", approval).json()["status"] == "approved"
    assert approval.votes.get().confirmed_instruction == ""


def test_whoever_is_asked_after_the_deadline_must_confirm_it_too(bot, say, charlie, late):
    escalate = [{"role": "sre", "count": 1, "deadline": "1h"}]
    policy(asks="1 finance", instructions=CALL, escalate=escalate)
    task = TaskFactory(agent=bot)
    late(find_approval(task, "finance"))
    sum(expire_approvals(by=OPS, batch_size=10))
    escalated = Approval.objects.get(approver_role="sre")
    assert code(say(charlie, "approve", escalated)) == (400, NotConfirmed.code)
