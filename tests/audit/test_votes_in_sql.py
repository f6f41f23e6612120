"""Raw SQL as the application's role: no voice that is nobody's to give, no decision without its
voices. Each row has its honest event beside it: it is not the missing event that refuses."""

from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from approvals_app import delegations, operations
from approvals_app.models import Approval, ApprovalPolicy, Delegation, Override, Vote
from audit_app.actors import Actor
from audit_app.events import EventType
from audit_app.models import Event
from audit_app.trail import create, perform
from sessions_app.models import Task
from sessions_app.operations import claim, revise_task
from sessions_app.verdicts import Kind, Verdict
from tests.factories import (
    OPS,
    AgentFactory,
    ReviewerFactory,
    TaskFactory,
    aged,
    approved,
    asked,
    policy,
)


@pytest.fixture
def dave():
    """In both groups."""
    return ReviewerFactory(username="dave", email="Dave@Example.com", roles=["finance", "legal"])


@pytest.fixture
def both():
    return policy(asks="2 finance, 1 legal")


@pytest.fixture
def task(both, bot):
    return TaskFactory(agent=bot)


@pytest.fixture
def finance(task):
    return asked(task, "finance")


@contextmanager
def refused(why, error=IntegrityError):
    before = (Vote.objects.count(), Event.objects.count())
    with pytest.raises(error, match=why), transaction.atomic():
        yield
    assert (Vote.objects.count(), Event.objects.count()) == before


@transaction.atomic
def insert(approval, voter, seat=None, **other):
    """A vote, with the event that it would have: nothing of ours is asked first."""
    vote = Vote(
        **{
            "approval": approval,
            "voter": voter,
            "seat_of": seat or voter,
            "choice": "yes",
            "payload_digest": approval.payload_digest,
            "role": approval.approver_role,
            "trace_id": approval.trace_id,
        }
        | other
    )
    return create(vote, EventType.VOTE_CAST, by=Actor.human(voter))


def decided(approval, by, change="approve", **given):
    given = {"decided_by_id": by.pk, "at": timezone.now(), "notes": ""} | given
    perform(getattr(approval, change), by=Actor.human(by), **given)


def test_a_rightful_vote_is_taken(finance, alice):
    assert insert(finance, alice).status == "cast"


class TestWhoIsNobodyToVote:
    def test_the_owner_of_the_agent_that_asks(self, both, alice):
        task = TaskFactory(agent=AgentFactory(owner=alice))
        with refused("separation of duties"):
            insert(asked(task, "finance"), alice)

    def test_the_owner_of_the_agent_that_asked_for_one_more(self, task, alice):
        worker = AgentFactory(roles=["finance"], owner=alice)
        by = worker.as_actor()
        more = operations.request(task.pk, by=by, approver_role="treasury")
        alice.groups.create(name="treasury")
        with refused("separation of duties"):
            insert(more, alice)

    @pytest.mark.parametrize("name", ["dave", "DAVE", "dave@example.com"])
    def test_on_whose_behalf_it_is_asked(self, both, bot, dave, name):
        task = TaskFactory(agent=bot, on_behalf_of=name)
        with refused("separation of duties"):
            insert(asked(task, "finance"), dave)

    def test_who_wrote_the_revision(self, task, finance, alice):
        digest = finance.payload_digest
        operations.edit(finance.pk, by=Actor.human(alice), payload_digest=digest, data={"x": 1})
        with refused("separation of duties"):
            insert(asked(task, "finance"), alice)

    def test_somebody_of_another_group(self, finance, charlie):
        with refused("is no member of finance"):
            insert(finance, charlie)

    def test_a_superuser_of_no_group(self, finance):
        root = ReviewerFactory(username="root", is_superuser=True)
        with refused("is no member of finance"):
            insert(finance, root)

    def test_who_does_not_work_here_any_more(self, finance, alice):
        alice.is_active = False
        alice.save()
        with refused("is no member of finance"):
            insert(finance, alice)

    def test_the_same_person_again(self, finance, alice):
        insert(finance, alice)
        with refused("one person has one voice|votes_one_each"):
            insert(finance, alice)

    def test_the_same_person_for_another_group(self, task, finance, dave):
        insert(finance, dave)
        with refused("one person has one voice"):
            insert(asked(task, "legal"), dave)

    def test_in_anothers_name(self, finance, alice, bob):
        with refused("is another's than its event says"):
            vote = Vote(
                approval=finance,
                voter=bob,
                seat_of=bob,
                choice="yes",
                payload_digest=finance.payload_digest,
                role="finance",
                trace_id=finance.trace_id,
            )
            create(vote, EventType.VOTE_CAST, by=Actor.human(alice))


class TestSeats:
    @pytest.fixture
    def given(self, finance, alice, charlie):
        """alice is away, and charlie, of sre, decides for her on this one."""
        return delegations.delegate(finance.pk, by=Actor.human(alice), to="charlie")

    def test_a_delegate_votes_in_the_seat(self, finance, given, alice, charlie):
        assert insert(finance, charlie, alice).seat_of == alice

    def test_of_who_did_not_delegate(self, finance, given, bob, charlie):
        with refused("does not stand in for"):
            insert(finance, charlie, bob)

    def test_after_it_ended(self, finance, given, alice, charlie):
        delegations.end_delegation(given.pk, by=Actor.human(alice))
        with refused("does not stand in for"):
            insert(finance, charlie, alice)

    def test_for_another_approval(self, bot, given, alice, charlie):
        another = asked(TaskFactory(agent=bot), "finance")
        with refused("does not stand in for"):
            insert(another, charlie, alice)

    def test_before_it_begins(self, finance, alice, charlie):
        begins = timezone.now() + timedelta(days=1)
        ends = begins + timedelta(days=1)
        by = Actor.human(alice)
        delegations.name_stand_in(by=by, to="charlie", starts_at=begins, ends_at=ends)
        with refused("does not stand in for"):
            insert(finance, charlie, alice)

    def test_of_who_is_excluded(self, both, alice, charlie):
        task = TaskFactory(agent=AgentFactory(owner=alice))
        approval = asked(task, "finance")
        now = timezone.now()
        by = Actor.human(alice)
        ends = now + timedelta(days=1)
        delegations.name_stand_in(by=by, to="charlie", starts_at=now, ends_at=ends)
        with refused("separation of duties"):
            insert(approval, charlie, alice)

    def test_by_who_is_excluded(self, both, alice, charlie):
        task = TaskFactory(agent=AgentFactory(owner=charlie))
        approval = asked(task, "finance")
        now = timezone.now()
        by = Actor.human(alice)
        ends = now + timedelta(days=1)
        delegations.name_stand_in(by=by, to="charlie", starts_at=now, ends_at=ends)
        with refused("separation of duties"):
            insert(approval, charlie, alice)

    def test_that_was_used(self, finance, given, alice, charlie):
        insert(finance, alice)
        with refused("one person has one voice|votes_one_a_seat"):
            insert(finance, charlie, alice)

    def test_granted_in_anothers_name(self, finance, alice, charlie):
        with refused("not granted by whose seat it is"):
            forged = Delegation(
                delegator=alice,
                delegate=charlie,
                approval=finance,
                starts_at=timezone.now(),
            )
            create(forged, EventType.DELEGATION_GRANTED, by=Actor.human(charlie))


class TestWhatIsVotedOn:
    def test_another_payload(self, finance, alice):
        with refused("is not open for this vote"):
            insert(finance, alice, payload_digest="0" * 64)

    def test_an_approval_that_is_decided(self, task, finance, alice, bob, dave):
        insert(finance, alice)
        with transaction.atomic():
            insert(finance, bob)
            decided(finance, bob)
        with refused("is not open for this vote"):
            insert(finance, dave)

    def test_an_earlier_revision(self, task, finance, bot, alice):
        revise_task(task.pk, by=bot.as_actor(), data={"amount": "1"})
        with refused("is not open for this vote"):
            insert(finance, alice)

    def test_after_the_deadline(self, finance, alice):
        aged(Approval, expires_at=timezone.now() - timedelta(minutes=1))
        with refused("is not open for this vote"):
            insert(finance, alice)

    @pytest.mark.parametrize("change", ["choice = 'no'", "notes = 'x'", "payload_digest = 'x'"])
    def test_a_vote_stays_what_it_was(self, finance, alice, change):
        vote = insert(finance, alice)
        with refused("UPDATE of votes is refused"), connection.cursor() as cursor:
            cursor.execute(f"UPDATE votes SET {change} WHERE id = %s", [vote.pk])

    def test_a_vote_is_withdrawn_by_who_cast_it(self, finance, alice, bob):
        vote = insert(finance, alice)
        with refused("is another's than its event says"):
            perform(vote.withdraw, by=Actor.human(bob))

    def test_a_vote_stays_once_it_decided(self, task, finance, alice, bob):
        insert(finance, alice)
        with transaction.atomic():
            vote = insert(finance, bob)
            decided(finance, bob)
        with refused("its votes stay"):
            perform(vote.withdraw, by=Actor.human(bob))

    def test_a_vote_is_not_removed(self, finance, alice):
        insert(finance, alice)
        with refused("without its audit event"), connection.cursor() as cursor:
            cursor.execute("DELETE FROM votes")


class TestDecisionsWithoutTheirVotes:
    def test_one_of_two(self, finance, alice):
        insert(finance, alice)
        with refused("without the votes for it"):
            decided(finance, alice)

    def test_none_at_all(self, finance, alice):
        with refused("without the votes for it"):
            decided(finance, alice, "reject")

    def test_a_withdrawn_vote_does_not_count(self, finance, alice, bob):
        operations.approve(finance.pk, by=Actor.human(alice), payload_digest=finance.payload_digest)
        operations.withdraw_vote(finance.pk, by=Actor.human(alice))
        with refused("without the votes for it"):
            insert(finance, bob)
            decided(finance, bob)

    def test_while_changes_are_asked_for(self, finance, alice, bob, dave):
        insert(finance, dave, choice="changes")
        insert(finance, alice)
        with refused("without the votes for it"):
            insert(finance, bob)
            decided(finance, bob)

    def test_one_no_of_two(self, bot, alice):
        policy("borne", asks="1 finance", deny_threshold=2, priority=-1)
        approval = asked(TaskFactory(agent=bot), "finance")
        insert(approval, alice, choice="no")
        with refused("without the votes for it"):
            decided(approval, alice, "reject")

    def test_a_task_whose_other_group_said_nothing(self, task, finance, alice, bob):
        insert(finance, alice)
        with transaction.atomic():
            insert(finance, bob)
            decided(finance, bob)
        with refused("without all of its approvals"):
            perform(task.approve, by=Actor.human(bob), until=timezone.now() + timedelta(days=1))

    def test_a_task_for_ever(self, bot, alice):
        policy("one", asks="1 finance", priority=-1)
        task = TaskFactory(agent=bot)
        approval = asked(task, "finance")
        with refused("approved by humans for ever"):
            insert(approval, alice)
            decided(approval, alice)
            perform(task.approve, by=Actor.human(alice))

    def test_silence_before_the_deadline(self, finance):
        with refused("approvals_decided_by_someone_in_time"):
            perform(finance.approve_at_deadline, by=OPS, at=timezone.now())

    def test_silence_that_no_policy_takes_for_a_yes(self, task, finance):
        with refused("no policy says"):
            operations.ask(
                task,
                operations.Requirement("sre"),
                by=OPS,
                now=timezone.now(),
                expires_at=timezone.now() + timedelta(days=1),
                at_deadline={"escalate": [], "then": "approve_without_a_human"},
            )


class TestOverrides:
    def forged(self, task, by):
        override = Override(
            task=task,
            revision=task.revision,
            payload_digest=task.payload_digest,
            opened_by=by,
            reason="Fire.",
            review_due_at=timezone.now() + timedelta(days=1),
            role=task.to_role,
            trace_id=task.trace_id,
        )
        return create(override, EventType.OVERRIDE_OPENED, by=Actor.human(by))

    def test_without_the_right(self, task, alice):
        with refused("has no right to break the glass"):
            self.forged(task, alice)

    def test_by_a_superuser_who_was_not_given_it(self, task):
        root = ReviewerFactory(username="root", is_superuser=True)
        with refused("has no right to break the glass"):
            self.forged(task, root)

    def test_without_anybody_to_review_it(self, task, alice):
        alice.user_permissions.add(Permission.objects.get(codename="break_glass"))
        with refused("nobody is asked to review"):
            self.forged(task, alice)

    def test_by_the_owner_of_the_agent(self, both, alice):
        alice.user_permissions.add(Permission.objects.get(codename="break_glass"))
        hers = TaskFactory(agent=AgentFactory(owner=alice))
        with refused("separation of duties"):
            self.forged(hers, alice)


class TestPayloads:
    def test_another_payload_without_a_revision(self, task):
        with refused("changes by one revision"):
            task.data = {"amount": "1"}
            task.seal_payload()
            perform(task.cancel, by=OPS)
            Task.objects.filter(pk=task.pk).update(payload=task.payload, data=task.data)

    def test_a_revision_whose_predecessor_is_not_kept(self, task):
        verdict = Verdict(Kind.REQUIRE, "")
        with refused("the payload that a revision replaces is kept"):
            perform(task.revise, by=OPS, edited_by_id=None, verdict=verdict, data={"x": 1})

    def test_what_was_replaced_stays(self, task, bot):
        revise_task(task.pk, by=bot.as_actor(), data={"amount": "1"})
        with refused("is refused"), connection.cursor() as cursor:
            cursor.execute("UPDATE task_revisions SET payload = '{}'")
        with refused("goes with its task"), connection.cursor() as cursor:
            cursor.execute("DELETE FROM task_revisions")
        with refused("kept when the task is revised"), connection.cursor() as cursor:
            cursor.execute(
                """INSERT INTO task_revisions (id, task_id, number, payload, replaced_at)
                VALUES (%s, %s, 7, '{}', now())""",
                [uuid4(), task.pk],
            )

    def test_a_new_task_is_where_its_verdict_puts_it(self, bot):
        task = Task(
            agent=bot,
            task_type="t",
            from_role="a",
            to_role="b",
            data={},
            context={},
            trace_id=uuid4(),
            idempotency_key="k",
            status="approved",
            verdict="require",
        )
        task.seal_payload()
        with refused("where its verdict puts it"):
            create(task, EventType.TASK_ROUTED, by=bot.as_actor())


class TestSingleUse:
    @pytest.fixture
    def done(self, bot, alice):
        return approved(TaskFactory(agent=bot), by=alice)

    def take(self, task, agent):
        until = timezone.now() + timedelta(minutes=5)
        perform(task.claim, by=agent.as_actor(), agent_id=agent.pk, session_id=None, until=until)

    def test_by_another_agent(self, done, payer):
        claim(done.pk, by=payer.as_actor(), lease=timedelta(minutes=5))
        rival = AgentFactory(name="rival", roles=["finance"])
        task = Task.objects.get(pk=done.pk)
        with transaction.atomic():
            perform(task.release, by=OPS)
        with refused("an approval is used once"):
            self.take(task, rival)

    def test_after_the_time_it_holds(self, done, payer):
        aged(Task, approved_until=timezone.now() - timedelta(minutes=1))
        with refused("is claimed in time"):
            self.take(Task.objects.get(pk=done.pk), payer)

    def test_longer_than_it_was_given_for(self, done):
        with refused("is said when it is given", DatabaseError):
            later = timezone.now() + timedelta(days=99)
            Task.objects.filter(pk=done.pk).update(approved_until=later)


class TestPolicies:
    def test_another_rule_than_its_event_tells(self, both):
        found = ApprovalPolicy.objects.get()
        with refused("is not what its event says"):
            rule = {"then": "approve"}
            perform(found.change, by=OPS, priority=1, description="", rule=rule)

    def test_a_policy_is_not_removed(self, both):
        with refused("without its audit event"):
            ApprovalPolicy.objects.all().delete()
