"""Who may vote, asked of every entry point: each gives the same answer for a person in a situation.

The table holds situations: a function sets one up and says who wants to vote on what, and what is
in the way, if anything. The entry points are asked in turn, those that change nothing first.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.core.cache import cache
from django.db import DatabaseError, connection, transaction
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from approvals_app.decisions import delegations, operations
from approvals_app.decisions.aliases import remember_aliases
from approvals_app.decisions.break_glass import break_glass
from approvals_app.decisions.deadlines import expire_approvals
from approvals_app.models import Approval, Delegation, Vote
from approvals_app.notifications import delivery, recipients
from approvals_app.notifications.channels import apprise
from approvals_app.review import inbox
from audit_app.base.actors import Actor
from audit_app.base.errors import OrchestratorError
from audit_app.base.events import EventType
from audit_app.models import Event
from audit_app.trail.recording import create
from sessions_app.models import Agent, Task
from sessions_app.tasks.operations import cancel, revise_task
from tests.client import Api
from tests.database import become_the_application, become_the_superuser, empty, without_guards
from tests.factories import (
    OPS,
    AgentFactory,
    ReviewerFactory,
    TaskFactory,
    find_approval,
    policy,
    set_columns,
)
from tests.notifications.conftest import text

DAY = timedelta(days=1)
CODES = (
    "already_decided",
    "approval_expired",
    "not_eligible",
    "separation_of_duties",
    "one_voice_each",
)


@dataclass(frozen=True)
class Case:
    """``person`` wants to vote on ``approval``, in the seat of ``seat``: their own where None.

    ``code`` is the refusal's; None: they may. ``knows``: they may know of the approval at all.
    """

    approval: Approval
    person: User
    code: str | None = None
    seat: User | None = None
    knows: bool = True


SITUATIONS: dict[str, Callable[[], Case]] = {}


def situation(name: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    def register(build: Callable[[], Case]) -> Callable[[], Case]:
        SITUATIONS[name] = build
        return build

    return register


def person(name: str, *roles: str, **fields: Any) -> User:
    return ReviewerFactory(username=name, email=f"{name}@example.com", roles=roles, **fields)


def ask(role: str = "finance", **given: Any) -> Approval:
    """An approval of a task that asks two of finance and two of legal."""
    policy(asks="2 finance, 2 legal")
    agent = given.pop("agent", None) or AgentFactory(name="bot")
    return find_approval(TaskFactory(agent=agent, **given), role)


def other(approval: Approval) -> Approval:
    """The one that another group is asked for in the same decision."""
    return find_approval(approval.task, "legal")


def say(
    by: User, approval: Approval, operation: Callable[..., Any] = operations.approve, **given: Any
) -> Any:
    seen = {"payload_digest": approval.payload_digest}
    return operation(approval.pk, by=Actor.human(by), **seen, **given)


def stand_in(member: User, to: User) -> Delegation:
    now = timezone.now()
    by = Actor.human(member)
    return delegations.grant_delegation(by=by, to=to.username, starts_at=now, ends_at=now + DAY)


def one_more(approval: Approval, owner: User) -> Approval:
    """Another agent, of ``owner``'s, asks audit about the same task."""
    worker = AgentFactory(name="worker", roles=["finance"], owner=owner)
    return operations.request(approval.task_id, by=worker.as_actor(), approver_role="audit")


def opened_by(member: User, approval: Approval) -> Approval:
    """The review of what ``member`` approved alone."""
    member.user_permissions.add(Permission.objects.get(codename="break_glass"))
    say(member, approval, break_glass, reason="Fire.")
    return Approval.objects.get(override__isnull=False, approver_role="finance")


def late() -> None:
    """The deadlines of what is pending pass."""
    past = "expires_at = now() - interval '1 s'"
    with without_guards() as cursor:
        cursor.execute(f"UPDATE approvals SET {past} WHERE status = 'pending'")


@situation("a member of the group")
def _() -> Case:
    return Case(ask(), person("alice", "finance"))


@situation("nobody who is asked")
def _() -> Case:
    return Case(ask(), person("charlie", "sre"), "not_eligible", knows=False)


@situation("a superuser of no group")
def _() -> Case:
    return Case(ask(), person("root", is_superuser=True), "not_eligible")


@situation("a member who is inactive")
def _() -> Case:
    return Case(ask(), person("alice", "finance", is_active=False), "not_eligible")


@situation("a member of two of the groups")
def _() -> Case:
    return Case(ask(), person("dave", "finance", "legal"))


@situation("the owner of the agent that asks")
def _() -> Case:
    alice = person("alice", "finance")
    approval = ask(agent=AgentFactory(owner=alice))
    return Case(approval, alice, "separation_of_duties")


@situation("the owner of the agent that asked one more group")
def _() -> Case:
    alice = person("alice", "audit")
    return Case(one_more(ask(), owner=alice), alice, "separation_of_duties")


@situation("the owner of the task's agent, where another agent asked one more group")
def _() -> Case:
    alice, bob = person("alice", "audit"), person("bob")
    approval = ask(agent=AgentFactory(owner=alice))
    return Case(one_more(approval, owner=bob), alice, "separation_of_duties")


@situation("the owner of an agent that asked another group")
def _() -> Case:
    alice = person("alice", "finance")
    approval = ask()
    one_more(approval, owner=alice)
    return Case(approval, alice)


@situation("on whose behalf it is asked, by their username")
def _() -> Case:
    return Case(ask(on_behalf_of="ALICE"), person("alice", "finance"), "separation_of_duties")


@situation("on whose behalf it is asked, by their address")
def _() -> Case:
    name = "Alice@Example.com"
    return Case(ask(on_behalf_of=name), person("alice", "finance"), "separation_of_duties")


@situation("on whose behalf it is asked, by a username they had before")
def _() -> Case:
    alice = person("alice", "finance")
    User.objects.filter(pk=alice.pk).update(username="alice.married")
    alice.refresh_from_db()
    return Case(ask(on_behalf_of="Alice"), alice, "separation_of_duties")


@situation("on whose behalf it is asked, by an address they had before")
def _() -> Case:
    alice = person("alice", "finance")
    name = alice.email
    for email in ("alice@new.example", "", "alice@newer.example"):
        User.objects.filter(pk=alice.pk).update(email=email)
    alice.refresh_from_db()
    return Case(ask(on_behalf_of=name), alice, "separation_of_duties")


@situation("on whose behalf it is asked, by the name they have at the issuer")
def _() -> Case:
    alice = person("alice", "finance")
    remember_aliases(alice, ["alice.married", ""])
    return Case(ask(on_behalf_of="ALICE.Married"), alice, "separation_of_duties")


@situation("on somebody's behalf who has the name they gave up only in another case")
def _() -> Case:
    alice = person("alice", "finance")
    User.objects.filter(pk=alice.pk).update(username="Alice")
    alice.refresh_from_db()
    return Case(ask(on_behalf_of="erin"), alice)


@situation("who wrote this revision")
def _() -> Case:
    alice, approval = person("alice", "finance"), ask()
    say(alice, approval, operations.edit, data={"amount": "1"})
    return Case(find_approval(approval.task, "finance"), alice, "separation_of_duties")


@situation("who wrote an earlier revision")
def _() -> Case:
    alice, approval = person("alice", "finance"), ask()
    say(alice, approval, operations.edit, data={"amount": "1"})
    revise_task(approval.task_id, by=Agent.objects.get().as_actor(), description="Once more.")
    return Case(find_approval(approval.task, "finance"), alice, "separation_of_duties")


@situation("who voted on an earlier revision")
def _() -> Case:
    alice, approval = person("alice", "finance"), ask()
    say(alice, approval)
    revise_task(approval.task_id, by=Agent.objects.get().as_actor(), description="Once more.")
    return Case(find_approval(approval.task, "finance"), alice)


@situation("who voted on it")
def _() -> Case:
    alice, approval = person("alice", "finance"), ask()
    say(alice, approval)
    return Case(approval, alice, "one_voice_each")


@situation("who voted on it and took it back")
def _() -> Case:
    alice, approval = person("alice", "finance"), ask()
    say(alice, approval)
    operations.withdraw_vote(approval.pk, by=Actor.human(alice))
    return Case(approval, alice)


@situation("who voted for another group in the same decision")
def _() -> Case:
    dave, approval = person("dave", "finance", "legal"), ask()
    say(dave, other(approval))
    return Case(approval, dave, "one_voice_each")


@situation("who voted for another group that is done")
def _() -> Case:
    dave, erin, approval = person("dave", "finance", "legal"), person("erin", "legal"), ask()
    legal = other(approval)
    say(dave, legal)
    say(erin, legal)
    return Case(approval, dave, "one_voice_each")


@situation("whose seat a delegate used")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    stand_in(alice, charlie)
    say(charlie, approval)
    return Case(approval, alice, "one_voice_each")


@situation("whose seat a delegate used for another group")
def _() -> Case:
    dave, charlie, approval = person("dave", "finance", "legal"), person("charlie", "sre"), ask()
    stand_in(dave, charlie)
    say(charlie, other(approval))
    return Case(approval, dave, "one_voice_each")


@situation("who said yes to a group that was given up")
def _() -> Case:
    return build_escalated_case(operations.approve, None)


@situation("who said no to a group that was given up")
def _() -> Case:
    return build_escalated_case(operations.reject, "one_voice_each")


def build_escalated_case(operation: Callable[..., Any], code: str | None) -> Case:
    dave = person("dave", "finance", "sre")
    steps = [{"role": "sre", "count": 2, "deadline": "1d"}]
    policy(asks="2 finance", deny_threshold=2, escalate=steps)
    task = TaskFactory(agent=AgentFactory(name="bot"))
    say(dave, find_approval(task, "finance"), operation)
    late()
    list(expire_approvals(by=OPS, batch_size=10))
    return Case(find_approval(task, "sre"), dave, code)


@situation("who stands in for a member")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    stand_in(alice, charlie)
    return Case(approval, charlie, seat=alice)


@situation("to whom a member delegated this one")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    delegations.delegate(approval.pk, by=Actor.human(alice), to="charlie")
    return Case(approval, charlie, seat=alice)


@situation("to whom a member delegated another one")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    another = find_approval(TaskFactory(agent=Agent.objects.get()), "finance")
    delegations.delegate(another.pk, by=Actor.human(alice), to="charlie")
    return Case(approval, charlie, "not_eligible", seat=alice, knows=False)


@situation("to whom somebody delegated this one who left the group")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    delegations.delegate(approval.pk, by=Actor.human(alice), to="charlie")
    alice.groups.clear()
    return Case(approval, charlie, "not_eligible", seat=alice)


@situation("to whom somebody delegated this one who is inactive")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    delegations.delegate(approval.pk, by=Actor.human(alice), to="charlie")
    alice.is_active = False
    alice.save()
    return Case(approval, charlie, "not_eligible", seat=alice)


@situation("who stands in for a member who is inactive")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    stand_in(alice, charlie)
    alice.is_active = False
    alice.save()
    return Case(approval, charlie, "not_eligible", seat=alice, knows=False)


@situation("who stands in for a member, and is inactive")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    stand_in(alice, charlie)
    charlie.is_active = False
    charlie.save()
    return Case(approval, charlie, "not_eligible", seat=alice)


@situation("who stood in for a member until a moment ago")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    stand_in(alice, charlie)
    now = timezone.now()
    set_columns(Delegation, starts_at=now - DAY, ends_at=now - timedelta(milliseconds=1))
    return Case(approval, charlie, "not_eligible", seat=alice, knows=False)


@situation("who will stand in for a member")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    stand_in(alice, charlie)
    set_columns(Delegation, starts_at=timezone.now() + DAY, ends_at=timezone.now() + 2 * DAY)
    return Case(approval, charlie, "not_eligible", seat=alice, knows=False)


@situation("who stood in for a member who ended it")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    delegations.end_delegation(stand_in(alice, charlie).pk, by=Actor.human(alice))
    return Case(approval, charlie, "not_eligible", seat=alice, knows=False)


@situation("who stands in for somebody who stands in for a member")
def _() -> Case:
    alice, charlie, frank = (
        person("alice", "finance"),
        person("charlie", "sre"),
        person("frank", "ops"),
    )
    approval = ask()
    stand_in(alice, charlie)
    stand_in(charlie, frank)
    return Case(approval, frank, "not_eligible", seat=alice, knows=False)


@situation("who stands in for the owner of the agent that asks")
def _() -> Case:
    alice, charlie = person("alice", "finance"), person("charlie", "sre")
    approval = ask(agent=AgentFactory(owner=alice))
    stand_in(alice, charlie)
    return Case(approval, charlie, "separation_of_duties", seat=alice)


@situation("who stands in for whom it is asked for")
def _() -> Case:
    alice, charlie = person("alice", "finance"), person("charlie", "sre")
    approval = ask(on_behalf_of="alice")
    stand_in(alice, charlie)
    return Case(approval, charlie, "separation_of_duties", seat=alice)


@situation("who stands in for a member, and owns the agent that asks")
def _() -> Case:
    alice, charlie = person("alice", "finance"), person("charlie", "sre")
    approval = ask(agent=AgentFactory(owner=charlie))
    stand_in(alice, charlie)
    return Case(approval, charlie, "separation_of_duties", seat=alice)


@situation("who stands in for one who is excluded and for one who is not")
def _() -> Case:
    alice, bob = person("alice", "finance"), person("bob", "finance")
    charlie = person("charlie", "sre")
    approval = ask(agent=AgentFactory(owner=alice))
    stand_in(alice, charlie)
    stand_in(bob, charlie)
    return Case(approval, charlie, seat=bob)


@situation("who stands in for a member who voted")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    stand_in(alice, charlie)
    say(alice, approval)
    return Case(approval, charlie, "one_voice_each", seat=alice)


@situation("who stands in for a member who voted for another group")
def _() -> Case:
    dave, charlie, approval = person("dave", "finance", "legal"), person("charlie", "sre"), ask()
    stand_in(dave, charlie)
    say(dave, other(approval))
    return Case(approval, charlie, "one_voice_each", seat=dave)


@situation("who voted, and stands in for another member")
def _() -> Case:
    alice, bob, approval = person("alice", "finance"), person("bob", "finance"), ask()
    stand_in(alice, bob)
    say(bob, approval)
    return Case(approval, bob, "one_voice_each", seat=alice)


@situation("a member who stands in for another who voted")
def _() -> Case:
    alice, bob, approval = person("alice", "finance"), person("bob", "finance"), ask()
    stand_in(alice, bob)
    say(alice, approval)
    return Case(approval, bob)


@situation("a member who stands in for one who is excluded")
def _() -> Case:
    alice, bob = person("alice", "finance"), person("bob", "finance")
    approval = ask(agent=AgentFactory(owner=alice))
    stand_in(alice, bob)
    return Case(approval, bob)


@situation("a member, after it was decided")
def _() -> Case:
    alice, bob, approval = person("alice", "finance"), person("bob", "finance"), ask()
    say(bob, approval, operations.reject)
    return Case(approval, alice, "already_decided")


@situation("a member, after the deadline passed")
def _() -> Case:
    alice, approval = person("alice", "finance"), ask()
    late()
    return Case(approval, alice, "approval_expired")


@situation("a member, after it expired")
def _() -> Case:
    alice, approval = person("alice", "finance"), ask()
    late()
    list(expire_approvals(by=OPS, batch_size=10))
    return Case(approval, alice, "already_decided")


@situation("a member, after the agent took it back")
def _() -> Case:
    alice, approval = person("alice", "finance"), ask()
    cancel(approval.task_id, by=Agent.objects.get().as_actor())
    return Case(approval, alice, "already_decided")


@situation("a member, of an earlier revision")
def _() -> Case:
    alice, approval = person("alice", "finance"), ask()
    revise_task(approval.task_id, by=Agent.objects.get().as_actor(), description="Once more.")
    return Case(approval, alice, "already_decided")


@situation("a member who reviews what was approved alone")
def _() -> Case:
    alice, bob, approval = person("alice", "finance"), person("bob", "finance"), ask()
    return Case(opened_by(alice, approval), bob)


@situation("a member who reviews it late")
def _() -> Case:
    alice, bob, approval = person("alice", "finance"), person("bob", "finance"), ask()
    review = opened_by(alice, approval)
    late()
    return Case(review, bob)


@situation("a member who voted before it was approved alone")
def _() -> Case:
    alice, bob, approval = person("alice", "finance"), person("bob", "finance"), ask()
    say(bob, approval)
    return Case(opened_by(alice, approval), bob)


@situation("who approved it alone")
def _() -> Case:
    alice, approval = person("alice", "finance"), ask()
    return Case(opened_by(alice, approval), alice, "separation_of_duties")


@situation("who stands in for whoever approved it alone")
def _() -> Case:
    alice, charlie, approval = person("alice", "finance"), person("charlie", "sre"), ask()
    stand_in(alice, charlie)
    return Case(opened_by(alice, approval), charlie, "separation_of_duties", seat=alice)


def inbox_lists_it(case: Case) -> bool:
    rows = inbox.load_page(Actor.human(case.person), inbox.Filters()).rows
    return case.approval.pk in [row.approval.pk for row in rows]


def badge_counts_it(case: Case) -> bool:
    """The badge counts what the inbox lists: with this one, or without."""
    actor = Actor.human(case.person)
    others = [row.approval.pk for row in inbox.load_page(actor, inbox.Filters()).rows]
    others = [pk for pk in others if pk != case.approval.pk]
    return bool(inbox.count_waiting(actor) - len(others))


def page_offers_it(case: Case) -> bool:
    client = Client()
    client.force_login(case.person)
    page = reverse("admin:approvals_app_approval_change", args=[case.approval.pk])
    answer = client.get(page)
    if case.person.is_active:
        assert answer.status_code == (200 if case.knows else 404)
    return b'value="approve"' in answer.content


class Notices:
    """What the notice of an approval's request comes to, if it is read and sent now."""

    def __init__(self, mailbox: Any, chat: Any, settings: Any) -> None:
        self.mailbox, self.chat = mailbox, chat
        settings.NOTICE_CHANNELS = {role: [chat.url] for role in ("finance", "audit", "sre")}

    def mail(self, case: Case) -> bool:
        self._read(case)
        delivery.deliver(f"email:{case.person.pk}")
        # Administrators also hear of what nobody can decide.
        return any("can't be decided" not in mail["subject"] for mail in self.mailbox.all())

    def role_hears_of_it(self, case: Case) -> bool:
        """A channel that a role shares is told of what anybody can still decide."""
        self._read(case)
        before = len(self.chat.said)
        delivery.deliver(apprise.shared_destination(case.approval.approver_role, self.chat.url))
        return len(self.chat.said) > before

    def _read(self, case: Case) -> None:
        requested = EventType.APPROVAL_REQUESTED.value
        event = Event.objects.get(event_type=requested, subject_id=case.approval.pk)
        recipients.record_notices([event])


def operation_says(case: Case) -> str | None:
    try:
        approval = say(case.person, case.approval, operations.request_changes, message="Less.")
    except OrchestratorError as refusal:
        return refusal.code
    (vote,) = Vote.objects.cast().filter(approval=approval, voter=case.person)
    assert vote.seat_of == (case.seat or case.person)
    operations.withdraw_vote(approval.pk, by=Actor.human(case.person))
    return None


def api_says(case: Case) -> str | None:
    body = {"payload_digest": case.approval.payload_digest}
    answer = Api(user=case.person).post(f"/approvals/{case.approval.pk}/approve", body)
    return None if answer.status_code == 200 else answer.json()["code"]


def trigger_says(case: Case) -> str | None:
    """A superuser's INSERT of the vote with its event, taken back: the code in the refusal."""
    approval = case.approval
    vote = Vote(
        approval=approval,
        voter=case.person,
        seat_of=case.seat or case.person,
        choice=Vote.Choice.YES,
        payload_digest=approval.payload_digest,
        role=approval.approver_role,
        trace_id=approval.trace_id,
    )
    become_the_superuser()
    try:
        with transaction.atomic():
            create(vote, EventType.VOTE_CAST, by=Actor.human(case.person))
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            transaction.set_rollback(True)
    except DatabaseError as refusal:
        said = str(refusal).splitlines()[0]
        return next((code for code in CODES if f": {code}," in said), said)
    finally:
        become_the_application()
    return None


def answers(case: Case, told: Notices) -> Iterator[tuple[str, Any, Any]]:
    """Each entry point, what it says, and what it ought to say."""
    may = case.code is None
    yield "inbox", inbox_lists_it(case), may
    yield "badge", badge_counts_it(case), may
    yield "mail", told.mail(case), may
    is_open = case.code not in ("already_decided", "approval_expired")
    yield "chat", told.role_hears_of_it(case), is_open
    yield "page", page_offers_it(case), may
    yield "trigger", trigger_says(case), case.code
    yield "operation", operation_says(case), case.code if case.knows else "not_found"
    code = case.code if case.knows else "not_found"
    yield "API", api_says(case), code if case.person.is_active else "not_authenticated"


def test_every_entry_point_gives_the_same_answer(mailbox, chat, settings):
    told, wrong = Notices(mailbox, chat, settings), []
    for name, build in SITUATIONS.items():
        case = build()
        assert Task.objects.exists()
        for entry_point, said, wanted in answers(case, told):
            if said != wanted:
                wrong.append(f"{name}: the {entry_point} says {said!r}, not {wanted!r}")
        empty()
        cache.clear()
    assert not wrong, "\n".join(["", *wrong])


def waiting_roles(member: User, **filters: str) -> list[str]:
    """The groups of the rows that wait in ``member``'s inbox."""
    rows = inbox.load_page(Actor.human(member), inbox.Filters(**filters)).rows
    return [row.approval.approver_role for row in rows]


def test_a_person_of_two_groups_is_asked_once(mailbox, settings):
    dave, alice, bob = (
        person("dave", "finance", "legal"),
        person("alice", "finance"),
        person("bob", "finance"),
    )
    finance = ask()
    assert waiting_roles(dave) == ["finance"]
    assert inbox.count_waiting(Actor.human(dave)) == 1
    events = Event.objects.filter(event_type=EventType.APPROVAL_REQUESTED.value)
    recipients.record_notices(list(events))
    delivery.deliver(f"email:{dave.pk}")
    (mail,) = mailbox.all()
    assert "from finance by" in text(mail)

    # Each group can still be looked at by itself.
    assert (waiting_roles(dave, role="legal"), waiting_roles(dave, role="finance")) == (
        ["legal"],
        ["finance"],
    )
    # Once one group is done without them, the other waits.
    say(alice, finance)
    say(bob, finance)
    assert waiting_roles(dave) == ["legal"]
    say(dave, other(finance))
    assert (waiting_roles(dave), inbox.count_waiting(Actor.human(dave))) == ([], 0)


def test_the_deadline_that_is_nearest_is_what_is_shown():
    dave = person("dave", "finance", "legal")
    task = ask().task
    worker = AgentFactory(name="worker", roles=["finance"])
    dave.groups.add(Group.objects.create(name="audit"))
    with override_settings(APPROVAL_TTL=timedelta(hours=1)):
        operations.request(task.pk, by=worker.as_actor(), approver_role="audit")
    assert waiting_roles(dave) == ["audit"]


def test_a_stand_in_for_two_members_is_asked_once():
    alice, erin, charlie = person("alice", "finance"), person("erin", "legal"), person("charlie")
    ask()
    stand_in(alice, charlie)
    stand_in(erin, charlie)
    assert waiting_roles(charlie) == ["finance"]


def test_the_inbox_lists_the_reviews_that_its_owner_can_do():
    alice, bob, carol = (person(name, "finance") for name in ("alice", "bob", "carol"))
    review = opened_by(alice, ask())

    def reviews(who):
        rows = inbox.load_page(Actor.human(who), inbox.Filters()).rows
        return [inbox.GROUPS[row.group] for row in rows]

    assert (reviews(alice), reviews(bob)) == ([], ["Reviews"])
    say(bob, review)
    assert (reviews(bob), reviews(carol)) == ([], ["Reviews"])
