"""Several people decide together."""

import pytest

from approvals_app.models import Approval, Vote
from audit_app.base.actors import Actor
from audit_app.models import Event
from sessions_app import agents
from sessions_app.models import Task
from tests.factories import OPS, TaskFactory, find_approval, policy

pytestmark = pytest.mark.usefixtures("whole")


@pytest.fixture
def task(bot):
    policy(asks="2 finance, 1 legal")
    return TaskFactory(agent=bot)


@pytest.fixture
def finance(task):
    return find_approval(task, "finance")


@pytest.fixture
def legal(task):
    return find_approval(task, "legal")


def code(answer):
    return answer.status_code, answer.json()["code"]


def state(row):
    return type(row).objects.get(pk=row.pk).status


def test_a_task_waits_for_all_of_each_group(task, finance, legal, say, alice, bob, erin):
    first = say(alice, "approve", finance, notes="Fine.").json()
    assert (first["status"], first["needed"]) == ("pending", 2)
    assert [(v["voter"], v["choice"], v["notes"]) for v in first["votes"]] == [
        ("alice", "yes", "Fine.")
    ]
    assert say(erin, "approve", legal).json()["status"] == "approved"
    assert state(task) == "awaiting_approval"

    last = say(bob, "approve", finance).json()
    assert (last["status"], last["decided_by"]) == ("approved", "bob")
    assert state(task) == "approved"
    assert Event.objects.filter(event_type="vote.cast").count() == 3


def test_whoever_is_in_both_groups_counts_once(finance, legal, say, dave):
    assert say(dave, "approve", finance).status_code == 200
    assert code(say(dave, "approve", legal)) == (403, "one_voice_each")
    assert code(say(dave, "reject", finance)) == (403, "one_voice_each")


def test_whoever_is_in_both_groups_can_take_the_other_seat(finance, legal, say, dave):
    say(dave, "approve", finance)
    assert say(dave, "withdraw_vote", finance).json()["votes"] == []
    assert say(dave, "approve", legal).json()["status"] == "approved"


def test_one_no_is_enough_unless_the_policy_says_more(task, finance, legal, say, erin):
    assert say(erin, "reject", legal).json()["status"] == "rejected"
    assert (state(task), state(finance)) == ("rejected", "withdrawn")


def test_as_many_noes_as_the_policy_wants_from_all_groups(bot, say, alice, bob, erin):
    policy(asks="2 finance, 1 legal", deny_threshold=2)
    task = TaskFactory(agent=bot)
    finance, legal = find_approval(task, "finance"), find_approval(task, "legal")
    assert say(alice, "reject", finance).json()["status"] == "pending"
    assert say(erin, "reject", legal).json()["status"] == "rejected"
    assert (state(task), state(finance)) == ("rejected", "withdrawn")


def test_a_vote_can_be_taken_back_until_the_decision(finance, legal, say, alice, bob, erin):
    assert code(say(alice, "withdraw_vote", finance)) == (409, "no_vote")
    say(alice, "approve", finance)
    assert code(say(bob, "withdraw_vote", finance)) == (409, "no_vote")
    assert say(alice, "withdraw_vote", finance, reason="I misread it.").status_code == 200
    assert Vote.objects.get().status == "withdrawn"
    say(erin, "approve", legal)
    assert code(say(erin, "withdraw_vote", legal)) == (409, "already_decided")


def test_who_left_the_group_meanwhile_has_no_vote(finance, say, alice):
    alice.groups.clear()
    assert say(alice, "approve", finance).status_code in (403, 404)
    assert not Vote.objects.exists()


def test_nobody_approves_while_changes_are_asked_for(finance, legal, say, alice, bob, erin):
    asked_for = say(alice, "request_changes", finance, message="Name the account.").json()
    assert asked_for["votes"][0]["choice"] == "changes"
    for person, approval in ((bob, finance), (erin, legal)):
        assert code(say(person, "approve", approval)) == (409, "changes_requested")
    say(alice, "withdraw_vote", finance)
    assert say(bob, "approve", finance).status_code == 200


def test_changes_may_be_answered_with_no(task, finance, say, alice, bob):
    say(alice, "request_changes", finance, message="Less.")
    assert say(bob, "reject", finance).json()["status"] == "rejected"


@pytest.mark.parametrize("name", ["erin", "ERIN", "erin@example.com"])
def test_the_person_on_whose_behalf_it_is_asked_has_no_vote(api, bot, say, erin, name):
    policy(asks="1 legal")
    body = {"target": "legal", "task": {"task_type": "x"}, "on_behalf_of": name}
    routed = api(bot).post("/tasks/route", body, headers={"Idempotency-Key": "k"}).json()
    approval = Approval.objects.get(task=routed["task_id"])
    assert code(say(erin, "approve", approval)) == (403, "separation_of_duties")


def test_what_is_asked_on_ones_behalf_does_not_wait_for_one(bot, alice, bob):
    TaskFactory(agent=bot, on_behalf_of="ALICE")
    assert not Approval.objects.waiting_for(Actor.human(alice)).exists()
    assert Approval.objects.waiting_for(Actor.human(bob)).count() == 1


def test_a_policy_may_refuse_and_the_task_keeps_why(api, bot):
    made = policy("no", then="refuse", when={"task_type": "refund*"})
    task = TaskFactory(agent=bot)
    seen = api(bot).get(f"/tasks/{task.pk}").json()
    assert (seen["status"], seen["approvals"]) == ("rejected", [])
    assert seen["policy"] == {
        "name": "no",
        "version": made.version,
        "verdict": "refuse",
        "why": "Policy no (version 1) refuses this.",
    }


def test_a_policy_may_approve_and_nobody_is_asked(bot):
    policy("yes", then="approve", when={"condition": 'data.currency == "EUR"'})
    assert TaskFactory(agent=bot).status == "approved"
    assert TaskFactory(agent=bot, data={"currency": "USD"}).status == "awaiting_approval"
    assert Task.objects.filter(approved_until=None).count() == 2


def test_a_yes_of_somebody_who_left_the_group_counts_no_more(finance, legal, say, alice, bob, dave):
    assert say(alice, "approve", finance).status_code == 200
    alice.groups.clear()
    assert say(bob, "approve", finance).json()["status"] == "pending"
    assert say(dave, "approve", finance).json()["status"] == "approved"


def test_a_yes_of_somebody_who_owns_the_agent_by_now_counts_no_more(
    task, bot, finance, say, alice, bob
):
    assert say(alice, "approve", finance).status_code == 200
    agents.change_agent(bot.pk, by=OPS, roles=bot.roles, owner_id=alice.pk, subject=None)
    assert say(bob, "approve", finance).json()["status"] == "pending"
