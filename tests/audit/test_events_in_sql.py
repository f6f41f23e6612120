"""What the application's role can't commit: an event that says otherwise than its row.

Each row and event is otherwise honest: it is not the missing event that refuses.
"""

from dataclasses import replace
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction

from approvals_app.decisions import operations
from approvals_app.models import Vote
from approvals_app.policy.evaluation import compile_policy
from audit_app.base.actors import Actor
from audit_app.base.events import EventType
from audit_app.trail import recording
from audit_app.trail.recording import create, perform
from sessions_app.agents import NewKey
from sessions_app.gate import Outcome, PolicyDecision
from sessions_app.models import AgentKey, Task
from sessions_app.tasks.routing import NewTask, Sender
from tests.factories import OPS, ReviewerFactory, TaskFactory, policy, the_approval


def expect_refusal(why):
    return pytest.raises(IntegrityError, match=why)


@pytest.fixture
def approval(bot):
    return the_approval(TaskFactory(agent=bot))


def cast(approval, voter, details):
    vote = Vote(
        approval=approval,
        voter=voter,
        seat_of=voter,
        choice="yes",
        payload_digest=approval.payload_digest,
        role=approval.approver_role,
        trace_id=approval.trace_id,
    )
    return create(vote, EventType.VOTE_CAST, by=Actor.human(voter), details=details)


@pytest.mark.parametrize(
    "details",
    [
        {"choice": "no"},
        {"notes": "Never."},
        {"payload_digest": "0" * 64},
        {"approval_id": str(uuid4())},
        {"seat_of": 7},
    ],
)
def test_a_vote_whose_event_says_otherwise(approval, alice, details):
    with expect_refusal("a row of votes is not what its audit event says"):
        cast(approval, alice, details)


def test_an_event_that_says_less_than_it_must(approval, alice, monkeypatch):
    monkeypatch.setattr(recording, "state_columns", lambda subject, names, details: details)
    with expect_refusal("a row of votes is not what its audit event says"):
        cast(approval, alice, {"choice": "yes"})


def test_an_owner_changed_under_an_event_that_does_not_say_so(bot, alice, monkeypatch):
    monkeypatch.setattr(recording, "state_columns", lambda subject, names, details: details)
    change = {"roles": bot.roles, "owner_id": alice.pk, "subject": None}
    with expect_refusal("a row of agents is not what its audit event says"):
        perform(bot.change, by=OPS, details={"roles": bot.roles}, **change)


def test_an_owner_changed_under_an_event_that_names_another(bot, alice, bob):
    change = {"roles": bot.roles, "owner_id": alice.pk, "subject": None}
    with expect_refusal("a row of agents is not what its audit event says"):
        perform(bot.change, by=OPS, details={"owner_id": bob.pk}, **change)


@transaction.atomic
def route_directly(bot, decision, approvals=(), **details):
    """A task as the operation writes it, which ``decision`` judges."""
    new = NewTask(to_role="finance", task_type="refund", idempotency_key=str(uuid4()))
    by = bot.as_actor()
    task = new.build(Sender.find(by, None, uuid4()))
    task.seal_payload()
    task.store_decision(decision)
    states = {"approve": "approved", "require": "awaiting_approval"}
    Task._meta.get_field("status").set_state(task, states[decision.kind.value])
    create(task, EventType.TASK_ROUTED, by=by, details=details)
    for requirement in approvals:
        terms = operations.build_terms(task, decision.plan, task.updated_at)
        operations.create_approval(task, requirement, by=by, now=task.updated_at, **terms)
    return task


def judge(kind, policy="", version=None, plan=None):
    return PolicyDecision(kind, "So it is.", policy, version, plan)


def test_a_routed_task_whose_event_names_another_payload(bot):
    with expect_refusal("a row of tasks is not what its audit event says"):
        route_directly(bot, judge(Outcome.APPROVE), payload_digest="0" * 64)


def test_a_task_approved_by_a_policy_that_is_not_there(bot):
    with expect_refusal("there is no version 1 of the policy generous"):
        route_directly(bot, judge(Outcome.APPROVE, "generous", 1))


def test_a_task_approved_by_a_version_that_is_not_there_yet(bot):
    policy("generous", then="approve")
    with expect_refusal("there is no version 2 of the policy generous"):
        route_directly(bot, judge(Outcome.APPROVE, "generous", 2))


def test_a_task_approved_by_a_policy_that_asks(bot):
    policy("strict", asks="2 finance")
    with expect_refusal("policy strict does not say approve"):
        route_directly(bot, judge(Outcome.APPROVE, "strict", 1))


def test_a_task_that_its_policy_lets_pass(bot):
    policy("generous", then="approve")
    assert route_directly(bot, judge(Outcome.APPROVE, "generous", 1)).status == "approved"


def test_a_task_that_asks_nobody(bot):
    with expect_refusal("needs an approval and asks for none"):
        route_directly(bot, judge(Outcome.REQUIRE))


@pytest.mark.parametrize(("asked", "whole"), [(["legal"], False), (["finance", "legal"], True)])
def test_a_task_that_asks_fewer_than_its_policy(bot, asked, whole):
    plan = compile_policy(policy("strict", asks="2 finance, 1 legal"))
    approvals = [each for each in plan.requirements_for("finance") if each.role in asked]
    decision = judge(Outcome.REQUIRE, "strict", 1, plan)
    if whole:
        assert route_directly(bot, decision, approvals).verdict == "require"
        return
    with expect_refusal("asks fewer people than its policy strict"):
        route_directly(bot, decision, approvals)


def test_a_task_that_asks_one_where_its_policy_wants_two(bot):
    plan = compile_policy(policy("strict", asks="2 finance"))
    fewer = [replace(each, count=1) for each in plan.requirements_for("finance")]
    with expect_refusal("asks fewer people than its policy strict"):
        route_directly(bot, judge(Outcome.REQUIRE, "strict", 1, plan), fewer)


@transaction.atomic
def issue(agent, keys, prefix):
    for key in keys:
        AgentKey.objects.create(agent=agent, prefix=key.prefix, hash=key.hash)
    perform(agent.issue_key, by=OPS, details={"prefix": prefix})


def test_a_key_that_its_event_does_not_name(bot):
    key = NewKey.make()
    with expect_refusal("changed without its audit event"):
        issue(bot, [key], "orc_another")


def test_two_keys_under_one_event(bot):
    one, other = NewKey.make(), NewKey.make()
    with expect_refusal("changed without its audit event"):
        issue(bot, [one, other], one.prefix)


def test_an_event_without_its_key(bot):
    with expect_refusal("tells of a key that was not issued"):
        issue(bot, [], "orc_missing")


def write_event(**members):
    known = {
        "event_type": "agent.noted",
        "actor": "agent:bot",
        "actor_id": "x",
        "subject_type": "note",
        "metadata": "{}",
    }
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO audit_events (entry) VALUES (audit_entry(
                event_type => %(event_type)s, actor => %(actor)s, actor_id => %(actor_id)s,
                subject_type => %(subject_type)s, subject_id => gen_random_uuid(), seq => 1,
                from_state => NULL, to_state => NULL, role => NULL, trace_id => NULL,
                metadata => %(metadata)s))""",
            known | members,
        )


def test_a_note_in_a_humans_name(alice):
    write_event()
    with expect_refusal("a note is an agent's own"):
        write_event(actor="human:alice", actor_id=str(alice.pk))


def test_an_event_of_megabytes():
    with expect_refusal("an audit event has more than 69632 characters"):
        write_event(metadata='{"x":"' + "x" * 5_000_000 + '"}')


def test_a_task_that_expires_before_its_time(approval, bot):
    with expect_refusal("the time of task .* has not passed"), transaction.atomic():
        task = Task.objects.select_for_update(no_key=True).get(pk=approval.task_id)
        operations.withdraw_pending(task, None, by=OPS, why="x")
        perform(task.expire, by=OPS)


def test_an_approved_task_that_expires_before_its_time(approval, alice):
    by = ReviewerFactory(roles=["finance"])
    operations.approve(approval.pk, by=Actor.human(by), payload_digest=approval.payload_digest)
    with expect_refusal("the time of task .* has not passed"), transaction.atomic():
        task = Task.objects.select_for_update(no_key=True).get(pk=approval.task_id)
        perform(task.expire, by=OPS)
