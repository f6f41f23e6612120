"""Which tasks need whose yes, and who may give it. Asked by every door, answered in one place."""

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db.models import BooleanField, Exists, ExpressionWrapper, OuterRef, Q, QuerySet

from approvals_app import questions, rules
from approvals_app.errors import (
    AlreadyDecided,
    AnswerRequired,
    ApprovalExpired,
    ChangesRequested,
    HumansOnly,
    NoRightToOverride,
    NotEligible,
    NotJudgedYet,
    OneVoiceEach,
    OverrideOverdue,
    ReauthenticationRequired,
    SecondFactorRequired,
    SeparationOfDuties,
)
from approvals_app.models import Approval, ApprovalPolicy, Delegation, Override, Vote
from audit_app.actors import Actor
from audit_app.errors import OrchestratorError
from audit_app.prepared import Prepared
from sessions_app.gate import Kind, Verdict
from sessions_app.models import Agent, Task, TaskRevision

BREAK_GLASS = "approvals_app.break_glass"

_read: dict[UUID, rules.Rule] = {}
"""Each policy as this process last read it; used while its version is still the present one."""


JUDGING_LIMIT = 5.0
"""Seconds after which no further task of several is judged: conditions on hostile payloads take
long, and a transaction waits meanwhile."""


def judge(
    task: Task,
    read: Callable[[], Sequence[rules.Rule]] | None = None,
    names: dict[UUID, str] | None = None,
) -> Verdict:
    """What the policies in force say of ``task`` as it is asked for now: exactly one verdict.

    ``read`` gives the policies and ``names`` remembers those of agents, where several are judged.
    """
    if task.task_type == Task.NOTIFICATION:
        return Verdict(Kind.APPROVE, "A notification asks for nothing.")
    facts = _Facts(task, {} if names is None else names)
    return rules.verdict((read or in_force)(), facts, settings.APPROVAL_DEFAULT)


def judge_all(tasks: Sequence[Task]) -> list[Verdict | OrchestratorError]:
    """The verdict on each of ``tasks``, all by the same policies in force, or what refuses it:
    QuestionInvalid, or NotJudgedYet once JUDGING_LIMIT has passed."""
    read, names, until = functools.cache(in_force), dict[UUID, str](), time.monotonic()
    until += JUDGING_LIMIT
    said: list[Verdict | OrchestratorError] = []
    for task in tasks:
        try:
            questions.must_be_askable(task)
            if said and time.monotonic() > until:
                raise NotJudgedYet
            said.append(judge(task, read, names))
        except OrchestratorError as refusal:
            said.append(refusal)
    return said


def in_force() -> list[rules.Rule]:
    """The active policies, first one first. Which they are is asked of the database every time, so
    that a change needs no restart; a policy is read and compiled once a version."""
    active = _active()
    stale = [pk for pk, version in active if pk not in _read or _read[pk].version != version]
    if stale:
        for policy in ApprovalPolicy.objects.filter(pk__in=stale):
            _read[policy.pk] = as_rule(policy)
    found = [_read[pk] for pk, _ in active if pk in _read]
    return sorted(found, key=lambda rule: (rule.priority, rule.name))


_active: Prepared[tuple[UUID, int]] = Prepared(
    lambda: ApprovalPolicy.objects.active().order_by().values_list("pk", "version")
)


def as_rule(policy: ApprovalPolicy) -> rules.Rule:
    """The policy, compiled. Raises RuleInvalid, which no saved policy does."""
    return rules.Rule.parse(policy.document, version=policy.version, id=str(policy.pk))


class _Facts(dict[str, Any]):
    """What a condition may ask of a task; the agent's name is only read where one does."""

    def __init__(self, task: Task, names: dict[UUID, str]) -> None:
        super().__init__({name: getattr(task, name) for name in Task.PAYLOAD_FIELDS})
        self._task, self._names = task, names

    def __missing__(self, name: str) -> str:
        if name != "agent":
            raise KeyError(name)
        agent = self._task.agent_id
        if agent not in self._names:
            self._names[agent] = self._task.agent.name
        self["agent"] = self._names[agent]
        return self._names[agent]


def voices(approval: Approval) -> list[Vote]:
    """What was said in this decision so far, on all of its approvals: asked once, since whoever
    holds the task's lock is the only one who can add to it."""
    return _said(task=approval.task_id, revision=approval.revision, override=approval.override_id)


_said: Prepared[Vote] = Prepared(
    lambda **decision: Vote.objects.in_one_decision(**decision).select_related("voter")
)


def seat_of(
    approval: Approval,
    by: Actor,
    now: datetime,
    said: list[Vote] | None = None,
    *,
    on_a_page: bool = False,
) -> int:
    """In whose seat ``by`` may vote on ``approval`` at ``now``: the user's id; the caller holds the
    lock of the approval and its task. Only ``on_a_page``, where nothing is decided yet, it holds
    none, and ``by.roles`` are believed.

    The same rule for every door, and for superusers too; groups, owners and delegations are read
    afresh, since they may have changed while we waited for the lock. Raises HumansOnly,
    AlreadyDecided, NotEligible, SeparationOfDuties, OneVoiceEach, ApprovalExpired, and what
    must_be_sure raises: last, so that nobody proves who they are for a decision that is not theirs.
    """
    if not by.is_human:
        raise HumansOnly(approval, kind=by.kind)
    if approval.status != Approval.Status.PENDING:
        raise already_decided(approval)
    voter = int(by.id)
    known = _standing(approval, [voter]).get(voter, _NOBODY)
    member = approval.approver_role in by.roles if on_a_page else known.member
    seats = [voter] if member else _lent_to(voter, approval)
    if not seats:
        raise NotEligible(approval, role=approval.approver_role)
    if known.barred:
        raise SeparationOfDuties(approval, why=known.barred)
    if not member:
        barred = excluded(approval, seats)
        seats = [seat for seat in seats if seat not in barred]
    if not seats:
        raise SeparationOfDuties(approval, why="they would vote for somebody who is excluded.")
    said = voices(approval) if said is None else said
    taken = {person for vote in said for person in (vote.voter_id, vote.seat_of_id)}
    free = [seat for seat in seats if seat not in taken]
    if voter in taken or not free:
        raise OneVoiceEach(approval)
    if approval.override_id is None and approval.expires_at <= now:
        raise ApprovalExpired(approval, expires_at=approval.expires_at.isoformat())
    must_be_sure(by, now, approval)
    return free[0]


def in_favour(approval: Approval, said: list[Vote]) -> int:
    """How many of the voices ``said`` let ``approval`` be approved: those whose seats are still
    members' and of whom separation of duties excludes nobody by now. The last one was judged a
    moment ago."""
    yes = [v for v in said if v.approval_id == approval.pk and v.choice == Vote.Choice.YES]
    earlier = yes[:-1]
    if not earlier:
        return len(yes)
    people = {person for vote in earlier for person in (vote.voter_id, vote.seat_of_id)}
    known = _standing(approval, people)
    rightful = {person for person, has in known.items() if has.active and not has.barred}
    counted = [v for v in earlier if known[v.seat_of_id].member and v.voter_id in rightful]
    return 1 + sum(vote.seat_of_id in rightful for vote in counted)


def must_be_in_time(task: Task, now: datetime) -> None:
    """Raises ApprovalExpired where a deadline of ``task`` has passed, and nobody did yet what is to
    happen then."""
    late = task.approvals.pending().blocking().filter(expires_at__lte=now).first()
    if late:
        raise ApprovalExpired(late, expires_at=late.expires_at.isoformat())


def open_to_voices(approval: Approval) -> bool:
    """Whether what was said of ``approval``, locked with its task, can still be taken back: what
    speaks against a task counts on where others are asked instead."""
    if approval.status == Approval.Status.PENDING:
        return True
    task = approval.task
    waits = task.status == Task.Status.AWAITING_APPROVAL and task.revision == approval.revision
    return approval.escalated_to_id is not None and waits


def nobody_asks_for_changes(approval: Approval, said: list[Vote]) -> None:
    """Raises ChangesRequested while somebody does."""
    for vote in said:
        if vote.choice == Vote.Choice.CHANGES:
            raise ChangesRequested(approval, by=vote.voter.get_username())


def may_override(approval: Approval, by: Actor, now: datetime) -> None:
    """Whether ``by`` may approve the whole task alone, in an emergency.

    The right is given to a person or a group as such: a superuser does not have it by being one.
    Raises HumansOnly, NoRightToOverride, AlreadyDecided, SeparationOfDuties, OverrideOverdue, and
    what must_be_sure raises.
    """
    if not by.is_human:
        raise HumansOnly(approval, kind=by.kind)
    if not may_break_glass(int(by.id)):
        raise NoRightToOverride(approval)
    if approval.status != Approval.Status.PENDING or approval.override_id:
        raise already_decided(approval)
    others = approval.task.approvals.blocking().filter(revision=approval.revision)
    if why := excluded(approval, [int(by.id)], others).get(int(by.id)):
        raise SeparationOfDuties(approval, why=why)
    if questions.is_question(approval.task.task_type):
        raise AnswerRequired(approval)
    if late := Override.objects.overdue().order_by("review_due_at").first():
        raise OverrideOverdue(approval, due=late.review_due_at.isoformat())
    must_be_sure(by, now, approval)


def may_break_glass(user_id: int) -> bool:
    """As it is now; on a page, ``by.rights`` says as much of a moment ago."""
    right = {"codename": "break_glass", "content_type__app_label": "approvals_app"}
    given = Q(**{f"user_permissions__{k}": v for k, v in right.items()}) | Q(
        **{f"groups__permissions__{k}": v for k, v in right.items()}
    )
    return User.objects.filter(given, pk=user_id, is_active=True).exists()


def excluded(
    approval: Approval, people: Iterable[int], others: Iterable[Approval] = ()
) -> dict[int, str]:
    """Those of ``people`` (users' ids) who may not decide on ``approval``, and on ``others`` of its
    task together with it, and why: nobody decides on what they answer for, asked for, wrote or
    did."""
    known = _standing(approval, people, others)
    return {person: has.barred for person, has in known.items() if has.barred}


@dataclass(frozen=True, slots=True)
class _Standing:
    """What somebody is in a decision: a ``member`` of the group that is asked, and ``barred`` from
    it for that reason; empty: they are not."""

    active: bool
    member: bool
    barred: str


_NOBODY = _Standing(active=False, member=False, barred="")


def _standing(
    approval: Approval, people: Iterable[int], others: Iterable[Approval] = ()
) -> dict[int, _Standing]:
    """Of each of ``people``, as it is now."""
    task = approval.task
    alone = approval.override.opened_by_id if approval.override else None
    asked_for = {each.requested_by_id for each in (approval, *others) if each.requested_by_id}
    found: dict[int, _Standing] = {}
    for person, active, member, owns, wrote, is_meant in _people(
        people=list(set(people)),
        role=approval.approver_role,
        task=task.pk,
        agents=list({task.agent_id, *asked_for}),
        name=task.on_behalf_of or None,
    ):
        answers = (
            (is_meant, "the agent asks on their behalf."),
            (person == alone, "they approved it alone."),
            (person == task.edited_by_id, "they wrote this revision."),
            (owns, "they own the agent that asks."),
            (wrote, "they wrote an earlier revision."),
        )
        why = next((why for holds, why in answers if holds), "")
        found[person] = _Standing(active, active and member, why)
    return found


def _who_they_are(
    people: list[int], role: str, task: UUID, agents: list[UUID], name: str | None
) -> "QuerySet[User, Any]":
    """Whether each of ``people`` is active, belongs to ``role``, owns one of ``agents``, wrote a
    revision of ``task``, and is called ``name``."""
    belongs = Group.objects.filter(name=role, user=OuterRef("pk"))
    owned = Agent.objects.filter(pk__in=agents, owner_id=OuterRef("pk"))
    wrote = TaskRevision.objects.filter(task_id=task, edited_by_id=OuterRef("pk"))
    named = Q(pk__in=[]) if name is None else Q(username__iexact=name) | Q(email__iexact=name)
    return User.objects.filter(pk__in=people).values_list(
        "pk",
        "is_active",
        Exists(belongs),
        Exists(owned),
        Exists(wrote),
        ExpressionWrapper(named, BooleanField()),
    )


_people: Prepared[tuple[int, bool, bool, bool, bool, bool]] = Prepared(_who_they_are)


def must_be_sure(by: Actor, now: datetime, approval: Approval | None = None) -> None:
    """Whether ``by`` has proved who they are well enough to decide on anything at ``now``.

    A proof whose time nobody told is never recent. Raises ReauthenticationRequired,
    SecondFactorRequired.
    """
    proof, limit = by.assurance, settings.REAUTHENTICATE_AFTER
    if limit and (proof.authenticated_at is None or now - proof.authenticated_at > limit):
        raise ReauthenticationRequired(approval)
    if settings.REQUIRE_SECOND_FACTOR != "never" and not proof.second_factor:
        raise SecondFactorRequired(approval)


def already_decided(approval: Approval) -> AlreadyDecided:
    """The conflict that tells the second reviewer who was first."""
    decider = approval.decided_by.get_username() if approval.decided_by else "nobody"
    at = approval.decision_at or approval.updated_at
    return AlreadyDecided(
        approval,
        state=approval.status,
        decided_by=decider,
        decision_at=at.isoformat(),
        allowed=[],
    )


def _lent_to(voter: int, approval: Approval) -> list[int]:
    """The seats of members who are represented by ``voter`` now. What was delegated can't be passed
    on: a delegator is a member."""
    members = User.objects.filter(is_active=True, groups__name=approval.approver_role)
    given = (
        Delegation.objects.in_force()
        .filter(
            Q(approval=None) | Q(approval=approval), delegate_id=voter, delegate__is_active=True
        )
        .filter(delegator__in=members.values("pk"))
        .order_by("approval", "created_at")
    )
    return list(given.values_list("delegator_id", flat=True))
