"""Many people vote on one task at once, in an order that nobody knows."""

import os
import random
from functools import partial

import pytest
from django.contrib.auth.models import Permission

from approvals_app.decisions import break_glass, deadlines, delegations, operations
from approvals_app.models import Approval, Override, Vote
from audit_app.base.actors import Actor
from audit_app.base.errors import Busy, OrchestratorError
from audit_app.models import Event
from sessions_app.models import Task
from sessions_app.tasks.operations import cancel, revise_task
from tests.database import without_guards
from tests.factories import (
    OPS,
    AgentFactory,
    ReviewerFactory,
    TaskFactory,
    find_approval,
    policy,
    set_columns,
)
from tests.races.together import together

ROUNDS = 500 if os.environ.get("FUZZ_REQUESTS") else 15
PAIRS = 10


@pytest.fixture
def people():
    """Twenty: members of A, of B, of both and of neither."""
    groups = [["a"]] * 7 + [["b"]] * 5 + [["a", "b"]] * 5 + [["c"]] * 2
    found = [ReviewerFactory(username=f"p{n}", roles=g) for n, g in enumerate(groups)]
    return [*found, ReviewerFactory(username="root", is_superuser=True)]


@pytest.fixture
def bot(people):
    """Its owner is in both groups."""
    return AgentFactory(name="bot", owner=people[12])


@pytest.fixture
def both():
    return policy(asks="2 a, 1 b", deny_threshold=2)


def voting(task, person, choice):
    """``person`` votes in a group of theirs, or tries to."""

    def vote():
        roles = [g.name for g in person.groups.all() if g.name in "ab"] or ["a"]
        approval = Approval.objects.filter(task=task, approver_role=choice.choice(roles)).first()
        by, digest = Actor.human(person), approval.payload_digest
        operation = operations.reject if choice.random() < 0.1 else operations.approve
        said = operation(approval.pk, by=by, payload_digest=digest)
        if said.status == "pending" and choice.random() < 0.15:
            operations.withdraw_vote(approval.pk, by=by)
        return person

    return vote


def test_twenty_people_at_once_decide_neither_early_nor_twice(people, bot, both):
    choice = random.Random(7)  # an order, no secret
    for _ in range(ROUNDS):
        task = TaskFactory(agent=bot, target="a")
        orders = [random.Random(choice.random()) for _ in people]  # as above
        calls = [voting(task, *each) for each in zip(people, orders, strict=True)]
        choice.shuffle(calls)
        outcomes = together(calls)

        strange = [o for o in outcomes if not isinstance(o, OrchestratorError | type(people[0]))]
        assert strange == []
        the_votes_say_what_became_of(task, owner=people[12])
    decided = Event.objects.filter(event_type__in=("task.approved", "task.rejected"))
    assert decided.count() == decided.values("subject_id").distinct().count()


def the_votes_say_what_became_of(task, *, owner):
    """A plain count, beside what the database says."""
    state = Task.objects.get(pk=task.pk).status
    rows = list(Approval.objects.filter(task=task))
    votes = list(Vote.objects.filter(approval__task=task, status="cast"))
    voters = [vote.voter_id for vote in votes]
    assert len(voters) == len(set(voters))
    assert owner.pk not in voters
    noes = sum(vote.choice == "no" for vote in votes)
    enough = {}
    for row in rows:
        yes = [v for v in votes if v.approval_id == row.pk and v.choice == "yes"]
        enough[row.approver_role] = len(yes) >= row.needed
        assert len(yes) <= row.needed
        assert all(v.voter.groups.filter(name=row.approver_role).exists() for v in yes)
        if row.status == "approved":
            assert enough[row.approver_role]
    assert noes <= 2
    expected = "approved" if all(enough.values()) else "awaiting_approval"
    assert state == ("rejected" if noes == 2 else expected)


def both_ways(first, second):
    """What became of two calls at once."""
    outcomes = together([first, second])
    for outcome in outcomes:
        assert not isinstance(outcome, Exception) or isinstance(outcome, OrchestratorError), outcome
    return outcomes


def yes(approval, person):
    return partial(
        operations.approve,
        approval.pk,
        by=Actor.human(person),
        payload_digest=approval.payload_digest,
    )


def test_a_vote_and_a_revision_at_once(people, bot):
    for number in range(PAIRS):
        task = TaskFactory(agent=bot, target="a")
        approval = find_approval(task, "a")
        revise = partial(revise_task, task.pk, by=bot.as_actor(), data={"amount": str(number)})
        both_ways(yes(approval, people[0]), revise)
        task.refresh_from_db(fields=["payload", "revision"])
        now = Task.objects.get(pk=task.pk)
        approval = Approval.objects.get(pk=approval.pk)
        if now.revision == 2:
            assert (now.status, approval.status) == ("awaiting_approval", "withdrawn")
            assert find_approval(now, "a").payload_digest == now.payload_digest
        else:
            assert (now.status, approval.status) == ("approved", "approved")


def test_a_vote_and_the_agent_taking_it_back_at_once(people, bot):
    for _ in range(PAIRS):
        task = TaskFactory(agent=bot, target="a")
        approval = find_approval(task, "a")
        both_ways(yes(approval, people[0]), partial(cancel, task.pk, by=bot.as_actor()))
        assert Task.objects.get(pk=task.pk).status == "cancelled"
        assert Approval.objects.get(pk=approval.pk).status in ("approved", "withdrawn")


def test_a_vote_and_the_deadline_at_once(people, bot):
    for _ in range(PAIRS):
        task = TaskFactory(agent=bot, target="a")
        approval = find_approval(task, "a")
        set_columns(Approval, expires_at=approval.created_at)
        sweep = partial(list, deadlines.expire_approvals(by=OPS, batch_size=10))
        outcome, _ = both_ways(yes(approval, people[0]), sweep)
        assert outcome.code in ("approval_expired", "already_decided")


def test_a_seat_is_used_once_by_whoever_comes_first(people, bot):
    policy(asks="2 a")
    for _ in range(PAIRS):
        task = TaskFactory(agent=bot, target="a")
        approval = find_approval(task, "a")
        delegations.delegate(approval.pk, by=Actor.human(people[0]), to="p17")
        outcomes = both_ways(yes(approval, people[0]), yes(approval, people[17]))
        assert sum(isinstance(outcome, Approval) for outcome in outcomes) == 1
        assert Vote.objects.filter(approval=approval).count() == 1


def test_breaking_the_glass_and_a_no_at_once(people, bot):
    people[0].user_permissions.add(Permission.objects.get(codename="break_glass"))
    for _ in range(PAIRS):
        task = TaskFactory(agent=bot, target="a")
        approval = find_approval(task, "a")
        digest = approval.payload_digest
        glass = partial(
            break_glass.break_glass,
            approval.pk,
            by=Actor.human(people[0]),
            payload_digest=digest,
            reason="Fire.",
        )
        no = partial(
            operations.reject, approval.pk, by=Actor.human(people[1]), payload_digest=digest
        )
        outcomes = both_ways(glass, no)
        assert sum(isinstance(outcome, Approval | Override) for outcome in outcomes) == 1
        opened = Override.objects.filter(task=task).exists()
        assert Task.objects.get(pk=task.pk).status == ("approved" if opened else "rejected")


def test_everything_at_once(people, bot):
    """Votes, an edit, a revision, a wish for one more, break glass, a delegation, deadlines and
    reminders: each is done or refused with a reason, and what is left is whole."""
    steps = [{"role": "c", "count": 1, "deadline": "1d"}]
    policy(asks="2 a, 1 b", deny_threshold=2, escalate=steps, reminders=["1h"])
    breaker = people[1]
    breaker.user_permissions.add(Permission.objects.get(codename="break_glass"))
    order = random.Random(3)  # an order, no secret
    for n in range(PAIRS):
        task = TaskFactory(agent=bot, target="a")
        a, b = find_approval(task, "a"), find_approval(task, "b")
        with without_guards() as cursor:
            sets = "expires_at = now()" if n % 2 else "remind_at = now()"
            cursor.execute(f"UPDATE approvals SET {sets} WHERE id = %s", [(a, b)[n % 3 > 0].pk])
        seen = {"payload_digest": a.payload_digest}
        calls = [
            yes(a, people[0]),
            yes(a, people[2]),
            yes(b, people[7]),
            partial(operations.reject, b.pk, by=Actor.human(people[8]), **seen),
            partial(operations.edit, a.pk, by=Actor.human(people[3]), data={"n": n}, **seen),
            partial(break_glass.break_glass, a.pk, by=Actor.human(breaker), reason="Fire.", **seen),
            partial(revise_task, task.pk, by=bot.as_actor(), data={"m": n}),
            partial(operations.request, task.pk, by=bot.as_actor(), approver_role="c"),
            partial(delegations.delegate, a.pk, by=Actor.human(people[4]), to="p17"),
            partial(operations.withdraw_vote, a.pk, by=Actor.human(people[0])),
            partial(swept, deadlines.expire_approvals),
            partial(swept, deadlines.remind),
        ]
        order.shuffle(calls)
        for outcome in together(calls):
            refused = isinstance(outcome, OrchestratorError) and not isinstance(outcome, Busy)
            assert refused or not isinstance(outcome, Exception), repr(outcome)


def swept(work):
    return list(work(by=OPS, batch_size=10))
