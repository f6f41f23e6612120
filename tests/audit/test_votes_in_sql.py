"""Raw SQL as the application's role: no voice that is nobody's to give, no decision without its
voices. Each row has its honest event beside it: it is not the missing event that refuses."""

from contextlib import contextmanager
from copy import copy
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connection,
    transaction,
)
from django.utils import timezone

from approvals_app.decisions import delegations, operations
from approvals_app.decisions.break_glass import break_glass
from approvals_app.decisions.deadlines import expire_approvals
from approvals_app.models import Approval, ApprovalPolicy, Delegation, Override, Vote
from audit_app.base.actors import Actor
from audit_app.base.events import EventType
from audit_app.models import Event
from audit_app.trail.recording import create, perform
from sessions_app.gate import Outcome, PolicyDecision
from sessions_app.models import Task
from sessions_app.tasks.operations import claim, complete, revise_task
from tests.factories import (
    OPS,
    AgentFactory,
    ReviewerFactory,
    TaskFactory,
    approve_task,
    find_approval,
    policy,
    set_columns,
)
from tests.trail import record_event


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
    return find_approval(task, "finance")


@contextmanager
def expect_refusal(why, error=IntegrityError):
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


def decide_directly(approval, by, change="approve", **given):
    given = {"decided_by_id": by.pk, "at": timezone.now(), "notes": ""} | given
    perform(getattr(approval, change), by=Actor.human(by), **given)


def test_a_rightful_vote_is_taken(finance, alice):
    assert insert(finance, alice).status == "cast"


class TestWhoIsNobodyToVote:
    def test_the_owner_of_the_agent_that_asks(self, both, alice):
        task = TaskFactory(agent=AgentFactory(owner=alice))
        with expect_refusal("separation_of_duties"):
            insert(find_approval(task, "finance"), alice)

    def test_the_owner_of_the_agent_that_asked_for_one_more(self, task, alice):
        worker = AgentFactory(roles=["finance"], owner=alice)
        by = worker.as_actor()
        more = operations.request(task.pk, by=by, approver_role="treasury")
        alice.groups.create(name="treasury")
        with expect_refusal("separation_of_duties"):
            insert(more, alice)

    @pytest.mark.parametrize("name", ["dave", "DAVE", "dave@example.com"])
    def test_on_whose_behalf_it_is_asked(self, both, bot, dave, name):
        task = TaskFactory(agent=bot, on_behalf_of=name)
        with expect_refusal("separation_of_duties"):
            insert(find_approval(task, "finance"), dave)

    def test_who_wrote_the_revision(self, task, finance, alice):
        digest = finance.payload_digest
        operations.edit(finance.pk, by=Actor.human(alice), payload_digest=digest, data={"x": 1})
        with expect_refusal("separation_of_duties"):
            insert(find_approval(task, "finance"), alice)

    def test_somebody_of_another_group(self, finance, charlie):
        with expect_refusal("not_eligible, the seat belongs to no active member"):
            insert(finance, charlie)

    def test_a_superuser_of_no_group(self, finance):
        root = ReviewerFactory(username="root", is_superuser=True)
        with expect_refusal("not_eligible, the seat belongs to no active member"):
            insert(finance, root)

    def test_who_does_not_work_here_any_more(self, finance, alice):
        alice.is_active = False
        alice.save()
        with expect_refusal("not_eligible, the seat belongs to no active member"):
            insert(finance, alice)

    def test_the_same_person_again(self, finance, alice):
        insert(finance, alice)
        with expect_refusal("one_voice_each"):
            insert(finance, alice)

    def test_the_same_person_for_another_group(self, task, finance, dave):
        insert(finance, dave)
        with expect_refusal("one_voice_each"):
            insert(find_approval(task, "legal"), dave)

    def test_in_anothers_name(self, finance, alice, bob):
        with expect_refusal("is another's than its event says"):
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
    def delegation(self, finance, alice, charlie):
        """alice is away, and charlie, of sre, decides for her on this one."""
        return delegations.delegate(finance.pk, by=Actor.human(alice), to="charlie")

    def test_a_delegate_votes_in_the_seat(self, finance, delegation, alice, charlie):
        assert insert(finance, charlie, alice).seat_of == alice

    def test_of_who_did_not_delegate(self, finance, delegation, bob, charlie):
        with expect_refusal("not_eligible, that member did not delegate"):
            insert(finance, charlie, bob)

    def test_after_it_ended(self, finance, delegation, alice, charlie):
        delegations.end_delegation(delegation.pk, by=Actor.human(alice))
        with expect_refusal("not_eligible, that member did not delegate"):
            insert(finance, charlie, alice)

    def test_for_another_approval(self, bot, delegation, alice, charlie):
        another = find_approval(TaskFactory(agent=bot), "finance")
        with expect_refusal("not_eligible, that member did not delegate"):
            insert(another, charlie, alice)

    def test_before_it_begins(self, finance, alice, charlie):
        begins = timezone.now() + timedelta(days=1)
        ends = begins + timedelta(days=1)
        by = Actor.human(alice)
        delegations.grant_delegation(by=by, to="charlie", starts_at=begins, ends_at=ends)
        with expect_refusal("not_eligible, that member did not delegate"):
            insert(finance, charlie, alice)

    def test_of_who_is_excluded(self, both, alice, charlie):
        task = TaskFactory(agent=AgentFactory(owner=alice))
        approval = find_approval(task, "finance")
        now = timezone.now()
        by = Actor.human(alice)
        ends = now + timedelta(days=1)
        delegations.grant_delegation(by=by, to="charlie", starts_at=now, ends_at=ends)
        with expect_refusal("separation_of_duties"):
            insert(approval, charlie, alice)

    def test_by_who_is_excluded(self, both, alice, charlie):
        task = TaskFactory(agent=AgentFactory(owner=charlie))
        approval = find_approval(task, "finance")
        now = timezone.now()
        by = Actor.human(alice)
        ends = now + timedelta(days=1)
        delegations.grant_delegation(by=by, to="charlie", starts_at=now, ends_at=ends)
        with expect_refusal("separation_of_duties"):
            insert(approval, charlie, alice)

    def test_that_was_used(self, finance, delegation, alice, charlie):
        insert(finance, alice)
        with expect_refusal("one_voice_each"):
            insert(finance, charlie, alice)

    def test_granted_in_anothers_name(self, finance, alice, charlie):
        with expect_refusal("not granted by whose seat it is"):
            forged = Delegation(
                delegator=alice,
                delegate=charlie,
                approval=finance,
                starts_at=timezone.now(),
            )
            create(forged, EventType.DELEGATION_GRANTED, by=Actor.human(charlie))


class TestWhatIsVotedOn:
    def test_another_payload(self, finance, alice):
        with expect_refusal("is not open for this vote"):
            insert(finance, alice, payload_digest="0" * 64)

    def test_an_approval_that_is_decided(self, task, finance, alice, bob, dave):
        insert(finance, alice)
        with transaction.atomic():
            insert(finance, bob)
            decide_directly(finance, bob)
        with expect_refusal("already_decided"):
            insert(finance, dave)

    def test_an_earlier_revision(self, task, finance, bot, alice):
        revise_task(task.pk, by=bot.as_actor(), data={"amount": "1"})
        with expect_refusal("already_decided"):
            insert(finance, alice)

    def test_after_the_deadline(self, finance, alice):
        set_columns(Approval, expires_at=timezone.now() - timedelta(minutes=1))
        with expect_refusal("approval_expired"):
            insert(finance, alice)

    @pytest.mark.parametrize("change", ["choice = 'no'", "notes = 'x'", "payload_digest = 'x'"])
    def test_a_vote_stays_what_it_was(self, finance, alice, change):
        vote = insert(finance, alice)
        with expect_refusal("UPDATE of votes is refused"), connection.cursor() as cursor:
            cursor.execute(f"UPDATE votes SET {change} WHERE id = %s", [vote.pk])

    def test_a_vote_is_withdrawn_by_who_cast_it(self, finance, alice, bob):
        vote = insert(finance, alice)
        with expect_refusal("is another's than its event says"):
            perform(vote.withdraw, by=Actor.human(bob))

    def test_a_vote_stays_once_it_decided(self, task, finance, alice, bob):
        insert(finance, alice)
        with transaction.atomic():
            vote = insert(finance, bob)
            decide_directly(finance, bob)
        with expect_refusal("its votes stay"):
            perform(vote.withdraw, by=Actor.human(bob))

    def test_a_vote_is_not_removed(self, finance, alice):
        insert(finance, alice)
        with expect_refusal("without its audit event"), connection.cursor() as cursor:
            cursor.execute("DELETE FROM votes")


class TestDecisionsWithoutTheirVotes:
    def test_one_of_two(self, finance, alice):
        insert(finance, alice)
        with expect_refusal("without the votes for it"):
            decide_directly(finance, alice)

    def test_none_at_all(self, finance, alice):
        with expect_refusal("without the votes for it"):
            decide_directly(finance, alice, "reject")

    def test_a_withdrawn_vote_does_not_count(self, finance, alice, bob):
        operations.approve(finance.pk, by=Actor.human(alice), payload_digest=finance.payload_digest)
        operations.withdraw_vote(finance.pk, by=Actor.human(alice))
        with expect_refusal("without the votes for it"):
            insert(finance, bob)
            decide_directly(finance, bob)

    def test_while_changes_are_asked_for(self, finance, alice, bob, dave):
        insert(finance, dave, choice="changes")
        insert(finance, alice)
        with expect_refusal("without the votes for it"):
            insert(finance, bob)
            decide_directly(finance, bob)

    def test_one_no_of_two(self, bot, alice):
        policy("borne", asks="1 finance", deny_threshold=2, priority=-1)
        approval = find_approval(TaskFactory(agent=bot), "finance")
        insert(approval, alice, choice="no")
        with expect_refusal("without the votes for it"):
            decide_directly(approval, alice, "reject")

    def test_a_task_whose_other_group_said_nothing(self, task, finance, alice, bob):
        insert(finance, alice)
        with transaction.atomic():
            insert(finance, bob)
            decide_directly(finance, bob)
        with expect_refusal("without all of its approvals"):
            perform(task.approve, by=Actor.human(bob), until=timezone.now() + timedelta(days=1))

    def test_a_task_for_ever(self, bot, alice):
        policy("one", asks="1 finance", priority=-1)
        task = TaskFactory(agent=bot)
        approval = find_approval(task, "finance")
        with expect_refusal("approved by humans for ever"):
            insert(approval, alice)
            decide_directly(approval, alice)
            perform(task.approve, by=Actor.human(alice))

    def test_silence_before_the_deadline(self, finance):
        with expect_refusal("approvals_decided_by_someone_in_time"):
            perform(finance.approve_at_deadline, by=OPS, at=timezone.now())

    def test_silence_that_no_policy_takes_for_a_yes(self, task, finance):
        with expect_refusal("no policy says"):
            operations.create_approval(
                task,
                operations.Requirement("sre"),
                by=OPS,
                now=timezone.now(),
                expires_at=timezone.now() + timedelta(days=1),
                at_deadline={"escalate": [], "then": "approve_without_a_human"},
            )


class TestOverrides:
    def forge_override(self, task, by):
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
        with expect_refusal("has no right to break the glass", OperationalError):
            self.forge_override(task, alice)

    def test_by_a_superuser_who_was_not_given_it(self, task):
        root = ReviewerFactory(username="root", is_superuser=True)
        with expect_refusal("has no right to break the glass", OperationalError):
            self.forge_override(task, root)

    def test_without_anybody_to_review_it(self, task, alice):
        alice.user_permissions.add(Permission.objects.get(codename="break_glass"))
        with expect_refusal("nobody is asked to review"):
            self.forge_override(task, alice)

    def test_by_the_owner_of_the_agent(self, both, alice):
        alice.user_permissions.add(Permission.objects.get(codename="break_glass"))
        hers = TaskFactory(agent=AgentFactory(owner=alice))
        with expect_refusal("separation of duties"):
            self.forge_override(hers, alice)


class TestPayloads:
    def test_another_payload_without_a_revision(self, task):
        with expect_refusal("changes by one revision"):
            task.data = {"amount": "1"}
            task.seal_payload()
            perform(task.cancel, by=OPS)
            Task.objects.filter(pk=task.pk).update(payload=task.payload, data=task.data)

    def test_a_revision_whose_predecessor_is_not_kept(self, task):
        verdict = PolicyDecision(Outcome.REQUIRE, "")
        with expect_refusal("the payload that a revision replaces is kept"):
            perform(task.revise, by=OPS, edited_by_id=None, decision=verdict, data={"x": 1})

    def test_what_was_replaced_stays(self, task, bot):
        revise_task(task.pk, by=bot.as_actor(), data={"amount": "1"})
        with expect_refusal("is refused|is kept as it was"), connection.cursor() as cursor:
            cursor.execute("UPDATE task_revisions SET payload = '{}'")
        with expect_refusal("goes with its task"), connection.cursor() as cursor:
            cursor.execute("DELETE FROM task_revisions")
        with expect_refusal("kept when the task is revised"), connection.cursor() as cursor:
            cursor.execute(
                """INSERT INTO task_revisions (id, task_id, number, payload, replaced_at)
                VALUES (%s, %s, 7, '{}', now())""",
                [uuid4(), task.pk],
            )

    def test_a_new_task_is_where_its_policy_decision_puts_it(self, bot):
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
        with expect_refusal("where its verdict puts it"):
            create(task, EventType.TASK_ROUTED, by=bot.as_actor())


class TestSingleUse:
    @pytest.fixture
    def approved_task(self, bot, alice):
        return approve_task(TaskFactory(agent=bot), by=alice)

    def take(self, task, agent):
        until = timezone.now() + timedelta(minutes=5)
        perform(task.claim, by=agent.as_actor(), agent_id=agent.pk, session_id=None, until=until)

    def test_by_another_agent(self, approved_task, payer):
        claim(approved_task.pk, by=payer.as_actor(), lease=timedelta(minutes=5))
        rival = AgentFactory(name="rival", roles=["finance"])
        task = Task.objects.get(pk=approved_task.pk)
        with transaction.atomic():
            perform(task.release, by=OPS)
        with expect_refusal("an approval is used once"):
            self.take(task, rival)

    def test_after_the_time_it_holds(self, approved_task, payer):
        set_columns(Task, approved_until=timezone.now() - timedelta(minutes=1))
        with expect_refusal("is claimed in time"):
            self.take(Task.objects.get(pk=approved_task.pk), payer)

    def test_expired_as_unused_once_it_was_claimed(self, approved_task, payer):
        claim(approved_task.pk, by=payer.as_actor(), lease=timedelta(minutes=5))
        task = Task.objects.get(pk=approved_task.pk)
        with transaction.atomic():
            perform(task.release, by=OPS)
        with expect_refusal("does not expire as unused"):
            perform(task.expire, by=OPS)

    def test_longer_than_it_was_given_for(self, approved_task):
        with expect_refusal("is said when it is given", DatabaseError):
            later = timezone.now() + timedelta(days=99)
            Task.objects.filter(pk=approved_task.pk).update(approved_until=later)


class TestLeases:
    LATER = "lease_expires_at = now() + interval '1 day'"

    @pytest.fixture
    def claimed_task(self, bot, alice, payer):
        task = approve_task(TaskFactory(agent=bot), by=alice)
        return claim(task.pk, by=payer.as_actor(), lease=timedelta(minutes=5))

    def test_an_honest_extension(self, claimed_task, payer):
        change_row(claimed_task, EventType.TASK_LEASE_EXTENDED, self.LATER, by=payer.as_actor())

    def test_by_somebody_else(self, claimed_task, bot):
        for by in (OPS, bot.as_actor()):
            with expect_refusal("is extended by its claimant alone"):
                change_row(claimed_task, EventType.TASK_LEASE_EXTENDED, self.LATER, by=by)

    def test_beside_another_event(self, claimed_task, payer):
        with expect_refusal("is extended by its claimant alone"):
            change_row(claimed_task, EventType.TASK_REVISED, self.LATER, by=payer.as_actor())

    def test_the_event_without_an_extension(self, claimed_task, payer):
        with expect_refusal("UPDATE of tasks is refused"):
            change_row(claimed_task, EventType.TASK_LEASE_EXTENDED, by=payer.as_actor())

    def test_of_another_claim(self, claimed_task, payer, bot):
        sets = f"{self.LATER}, claimed_by_id = '{bot.pk}'"
        with expect_refusal("UPDATE of tasks is refused"):
            change_row(claimed_task, EventType.TASK_LEASE_EXTENDED, sets, by=bot.as_actor())

    def test_of_what_nobody_holds(self, claimed_task, payer):
        with transaction.atomic():
            perform(Task.objects.get(pk=claimed_task.pk).release, by=OPS)
        with expect_refusal("is extended by its claimant alone"):
            change_row(claimed_task, EventType.TASK_LEASE_EXTENDED, self.LATER, by=payer.as_actor())


class TestPolicies:
    def test_another_rule_than_its_event_tells(self, both):
        found = ApprovalPolicy.objects.get()
        with expect_refusal("is not what its event says"):
            rule = {"then": "approve"}
            perform(found.change, by=OPS, priority=1, description="", rule=rule)

    def test_a_policy_is_not_removed(self, both):
        with expect_refusal("without its audit event"):
            ApprovalPolicy.objects.all().delete()


@transaction.atomic
def change_row(row, event, sets="", values=(), *, by=OPS, to=None, details=None):
    """``row`` with other columns, beside the honest event of ``event``."""
    row = type(row).objects.get(pk=row.pk)
    row.version += 1
    record_event(row, event, by=by, states=(row.status if to else None, to), details=details)
    sets = ", ".join(filter(None, ["version = version + 1", to and f"status = '{to}'", sets]))
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {row._meta.db_table} SET {sets} WHERE id = %s", [*values, row.pk])
        assert cursor.rowcount == 1


@transaction.atomic
def delete_row(row, event):
    row = type(row).objects.get(pk=row.pk)
    row.version += 1
    record_event(row, event, by=OPS, states=(row.status, None))
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {row._meta.db_table} WHERE id = %s", [row.pk])
        assert cursor.rowcount == 1


@pytest.fixture
def legal(task):
    return find_approval(task, "legal")


@pytest.fixture
def half(finance, alice, bob):
    """finance said yes, legal has not."""
    with transaction.atomic():
        insert(finance, alice)
        insert(finance, bob)
        decide_directly(finance, bob)


def late():
    set_columns(Approval, expires_at=timezone.now() - timedelta(seconds=1))


def approve(task):
    until = "approved_until = now() + interval '1 day'"
    change_row(task, EventType.TASK_APPROVED, until, to="approved")


class TestWhoIsCounted:
    def test_who_left_the_group_does_not_count(self, finance, alice, bob):
        insert(finance, alice)
        alice.groups.clear()
        with expect_refusal("by somebody who may not any more", OperationalError):
            insert(finance, bob)
            decide_directly(finance, bob)

    def test_who_owns_the_agent_by_now_does_not_count(self, bot, finance, alice, bob):
        insert(finance, alice)
        change_row(
            bot,
            EventType.IDENTITY_CHANGED,
            "owner_id = %s",
            [alice.pk],
            details={"owner_id": alice.pk},
        )
        with expect_refusal("by somebody who may not any more", OperationalError):
            insert(finance, bob)
            decide_directly(finance, bob)

    def test_who_did_not_vote_does_not_decide(self, finance, alice, bob, charlie):
        insert(finance, alice)
        with expect_refusal("without the votes for it"):
            insert(finance, bob)
            decide_directly(finance, charlie)

    def test_not_after_the_deadline_by_a_date_before_it(self, bot, alice):
        policy("one", asks="1 finance", priority=-1)
        approval = find_approval(TaskFactory(agent=bot), "finance")
        insert(approval, alice)
        set_columns(Approval, expires_at=timezone.now() - timedelta(hours=1))
        with expect_refusal("is decided when it is decided"):
            approval = Approval.objects.get(pk=approval.pk)
            decide_directly(approval, alice, at=timezone.now() - timedelta(hours=2))

    def test_who_wrote_an_earlier_revision(self, task, finance, bot, alice):
        by = Actor.human(alice)
        seen = finance.payload_digest
        operations.edit(finance.pk, by=by, payload_digest=seen, data={"amount": "9999"})
        revise_task(task.pk, by=bot.as_actor(), description="The same.")
        with expect_refusal("separation_of_duties"):
            insert(find_approval(task, "finance"), alice)


class TestSilence:
    @pytest.fixture
    def silent(self, bot):
        terms = {"on_timeout": "approve_without_a_human", "deny_threshold": 3}
        policy("silent", asks="2 finance", priority=-1, **terms)
        return find_approval(TaskFactory(agent=bot), "finance")

    def test_at_no_time_at_all(self, silent):
        event = EventType.APPROVAL_APPROVED_BY_DEADLINE
        with expect_refusal("approvals_decided_by_someone_in_time"):
            change_row(silent, event, "decision_at = NULL", to="approved")

    @pytest.mark.parametrize("choice", ["no", "changes"])
    def test_over_what_somebody_said(self, silent, alice, choice):
        insert(silent, alice, choice=choice)
        late()
        with expect_refusal("somebody spoke against"):
            silent = Approval.objects.get(pk=silent.pk)
            perform(silent.approve_at_deadline, by=OPS, at=timezone.now())

    def test_instead_of_the_next_step(self, bot):
        steps = [{"role": "sre", "count": 1, "deadline": "1d"}]
        terms = {"on_timeout": "approve_without_a_human", "escalate": steps}
        policy("slow", asks="1 finance", priority=-1, **terms)
        approval = find_approval(TaskFactory(agent=bot), "finance")
        late()
        with expect_refusal("has not passed"):
            approval = Approval.objects.get(pk=approval.pk)
            perform(approval.approve_at_deadline, by=OPS, at=timezone.now())


class TestEscalation:
    def test_to_itself_before_the_deadline(self, task, half, legal):
        with expect_refusal("escalated otherwise than it says"):
            change_row(legal, EventType.APPROVAL_EXPIRED, "escalated_to_id = id", to="expired")
            approve(task)

    def test_to_another_group_that_said_yes(self, task, half, finance, legal):
        with expect_refusal("escalated otherwise than it says"):
            sets, values = "escalated_to_id = %s", [finance.pk]
            change_row(legal, EventType.APPROVAL_EXPIRED, sets, values, to="expired")
            approve(task)

    def test_to_fewer_than_the_policy_says(self, bot):
        steps = [{"role": "sre", "count": 2, "deadline": "1d"}]
        policy("slow", asks="1 finance", priority=-1, escalate=steps)
        task = TaskFactory(agent=bot)
        approval = find_approval(task, "finance")
        late()
        tomorrow = timezone.now() + timedelta(days=1)
        with expect_refusal("escalated otherwise than it says"):
            fewer = operations.create_approval(
                task,
                operations.Requirement("sre", 1),
                by=OPS,
                now=timezone.now(),
                expires_at=tomorrow,
            )
            sets, values = "escalated_to_id = %s", [fewer.pk]
            change_row(approval, EventType.APPROVAL_EXPIRED, sets, values, to="expired")

    def test_an_end_before_the_deadline(self, task, half, legal):
        with expect_refusal("has not passed"):
            change_row(legal, EventType.APPROVAL_EXPIRED, to="expired")

    def test_what_speaks_against_it_is_not_lost(self, bot, alice, charlie):
        steps = [{"role": "sre", "count": 1, "deadline": "1d"}]
        policy("slow", asks="2 finance", priority=-1, escalate=steps)
        task = TaskFactory(agent=bot)
        insert(find_approval(task, "finance"), alice, choice="changes")
        late()
        list(expire_approvals(by=OPS, batch_size=10))
        with expect_refusal("changes are asked for"):
            following = find_approval(task, "sre")
            insert(following, charlie)
            decide_directly(following, charlie)


class TestEventsThatLeaveTheStateAlone:
    @pytest.mark.parametrize(
        "sets",
        [
            "remind_at = now()",
            "decision_at = decision_at - interval '1 year'",
            "notes = 'forged'",
            "escalated_to_id = id",
            "reason = 'forged'",
        ],
    )
    def test_a_reminder_rewrites_no_decision(self, half, finance, sets):
        with expect_refusal("UPDATE of approvals is refused"):
            change_row(finance, EventType.APPROVAL_REMINDED, sets)

    def test_a_reminder_sends_nobody_elsewhere(self, legal, finance):
        with expect_refusal("UPDATE of approvals is refused"):
            sets, values = "escalated_to_id = %s", [finance.pk]
            change_row(legal, EventType.APPROVAL_REMINDED, sets, values)

    def test_a_revision_gives_the_task_to_nobody_else(self, bot, payer, alice):
        policy("one", asks="1 finance", priority=-1)
        task = approve_task(TaskFactory(agent=bot), by=alice)
        claim(task.pk, by=payer.as_actor(), lease=timedelta(minutes=5))
        rival = AgentFactory(name="rival", roles=["finance"])
        with expect_refusal("UPDATE of tasks is refused"):
            change_row(task, EventType.TASK_REVISED, "claimed_by_id = %s", [rival.pk])

    def test_a_revision_rewrites_no_result(self, bot, payer, alice):
        policy("one", asks="1 finance", priority=-1)
        task = approve_task(TaskFactory(agent=bot), by=alice)
        claim(task.pk, by=payer.as_actor(), lease=timedelta(minutes=5))
        complete(task.pk, by=payer.as_actor(), result={"ok": 1})
        with expect_refusal("UPDATE of tasks is refused"):
            change_row(task, EventType.TASK_REVISED, """result = '{"ok": 2}'""")


class TestWhatBelongsToATask:
    def test_a_vote_stays_while_its_approval_does(self, finance, dave):
        vote = insert(finance, dave, choice="changes")
        with expect_refusal("a row of votes goes with its approval"):
            delete_row(vote, EventType.VOTE_PURGED)

    def test_an_approval_is_not_withdrawn_while_the_task_waits_for_it(self, legal):
        with expect_refusal("is still waited for"):
            change_row(legal, EventType.APPROVAL_WITHDRAWN, to="withdrawn")

    def test_a_decision_stays_while_its_task_does(self, half, finance):
        with expect_refusal("goes with its|FOREIGN KEY|foreign key"):
            delete_row(finance, EventType.APPROVAL_PURGED)

    def test_an_approval_that_was_given_up_stays_too(self, task, finance, bot):
        revise_task(task.pk, by=bot.as_actor(), data={"amount": "1"})
        with expect_refusal("a row of approvals goes with its task"):
            delete_row(finance, EventType.APPROVAL_PURGED)

    def test_who_stands_in_stays_known(self, alice, charlie):
        now, by = timezone.now(), Actor.human(alice)
        ends = now + timedelta(days=1)
        given = delegations.grant_delegation(by=by, to="charlie", starts_at=now, ends_at=ends)
        with expect_refusal("a row of delegations goes with its approval"):
            delete_row(given, EventType.DELEGATION_PURGED)

    def test_nobody_is_asked_about_a_task_that_waits_no_more(self, task, finance):
        with expect_refusal("people are still asked"):
            perform(task.cancel, by=OPS)


class TestRevisionsOfPeople:
    def test_in_nobodys_name(self, task, alice):
        by = Actor.human(alice)
        verdict = PolicyDecision(Outcome.APPROVE, "")
        with expect_refusal("is another's than its event says"):
            task = Task.objects.lock(task.pk)
            task.revisions.create(number=1, payload=task.payload, edited_by_id=None)
            withdrawn(task)
            revised = copy(task)
            revised.data = {"x": 1}
            revised.seal_payload()
            details = {"replaces": task.payload_digest, "payload_digest": revised.payload_digest}
            given = {"edited_by_id": None, "decision": verdict, "data": {"x": 1}}
            perform(task.revise, by=by, details=details, **given)

    @pytest.mark.parametrize("member", ['"description":"hidden",', '"data":{"a":{"b":1,"b":2}},'])
    def test_a_payload_that_can_be_read_in_two_ways(self, task, member):
        with expect_refusal("has a member twice"):
            task = Task.objects.lock(task.pk)
            text = "{" + member + task.payload[1:]
            task.revisions.create(number=1, payload=task.payload, edited_by_id=None)
            sets, values = "payload = %s, revision = 2", [text]
            change_row(task, EventType.TASK_REVISED, sets, values)


def withdrawn(task):
    for approval in Approval.objects.filter(task=task):
        perform(approval.withdraw, by=OPS)


class TestReviews:
    @pytest.fixture
    def override(self, finance, alice):
        alice.user_permissions.add(Permission.objects.get(codename="break_glass"))
        by, seen = Actor.human(alice), finance.payload_digest
        return break_glass(finance.pk, by=by, payload_digest=seen, reason="Fire.")

    def test_stay_while_it_is_open(self, override):
        with expect_refusal("is still waited for"):
            for review in Approval.objects.filter(override=override):
                change_row(review, EventType.APPROVAL_WITHDRAWN, to="withdrawn")

    def test_are_not_given_by_silence(self, override):
        with expect_refusal("approvals_decided_by_someone_in_time"):
            for review in Approval.objects.filter(override=override):
                perform(review.approve_at_deadline, by=OPS, at=timezone.now())

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ({"payload_digest": "f" * 64}, "is of what was approved"),
            ({}, "is of what was approved"),
            (
                {"review_due_at": timezone.now() + timedelta(days=999)},
                "overrides_are_reviewed_soon",
            ),
        ],
    )
    def test_are_of_what_was_approved_and_soon(self, task, alice, wrong, why):
        alice.user_permissions.add(Permission.objects.get(codename="break_glass"))
        now = timezone.now()
        given = {
            "revision": 1,
            "payload_digest": task.payload_digest,
            "review_due_at": now + timedelta(days=1),
        }
        named = {"opened_by": alice, "reason": "x", "role": "finance", "trace_id": task.trace_id}
        with expect_refusal(why):
            forged = Override(task=task, **named, **given | wrong)
            create(forged, EventType.OVERRIDE_OPENED, by=Actor.human(alice))
            terms = {"override": forged, "expires_at": now, "by": OPS, "now": now}
            operations.create_approval(task, operations.Requirement("sre"), **terms)

    def test_what_was_condemned_can_not_be_taken(self, task, override, bob):
        review = Approval.objects.get(override=override, approver_role="finance")
        others = Approval.objects.filter(override=override).exclude(pk=review.pk)
        with expect_refusal("can still be taken"):
            insert(review, bob, choice="no")
            decide_directly(review, bob, "reject")
            perform(Override.objects.get(pk=override.pk).condemn, by=Actor.human(bob))
            for other in others:
                perform(other.withdraw, by=OPS)


def test_a_question_is_not_approved_without_an_answer(bot, alice):
    policy("one", asks="1 finance", priority=-1)
    task = TaskFactory(agent=bot, task_type="question", data={"question": "Which?"})
    approval = find_approval(task, "finance")
    with expect_refusal("was approved without an answer"):
        insert(approval, alice)
        decide_directly(approval, alice)
        approve(task)
