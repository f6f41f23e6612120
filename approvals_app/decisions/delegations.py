"""Delegations: somebody else votes in a person's seat, on one approval or for a time.

A delegated seat can't be delegated further. Separation of duties must bar neither the delegator nor
the delegate (voting_seats() in the database).
"""

from datetime import datetime
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Q

from approvals_app.decisions import eligibility
from approvals_app.errors import (
    AlreadyDelegated,
    DelegateExcluded,
    HumansOnly,
    NotDelegator,
    UnknownPerson,
)
from approvals_app.models import Approval, Delegation
from audit_app.base.actors import Actor
from audit_app.base.errors import Invalid
from audit_app.base.events import EventType
from audit_app.trail.operation import clock, operation
from audit_app.trail.recording import create, perform


@operation("approval.delegate")
def delegate(approval_id: UUID, *, by: Actor, to: str, reason: str = "") -> Delegation:
    """Let the person called ``to`` vote on one approval in the caller's seat.

    Raises NotFound, what ``eligibility.voting_seat`` raises, UnknownPerson, DelegateExcluded,
    AlreadyDelegated.
    """
    approval = Approval.objects.lock_visible_with_task(by, approval_id)
    now = clock()
    if eligibility.voting_seat(approval, by, now) != int(by.id):
        raise DelegateExcluded(approval, name=to, why="what was delegated can't be passed on.")
    person = _find_delegate(by, to)
    if why := eligibility.conflict_of_interest(approval, person.pk):
        raise DelegateExcluded(approval, name=to, why=why)
    mine = Delegation.objects.in_force().filter(delegator_id=int(by.id), approval=approval)
    if mine.exists():
        raise AlreadyDelegated(approval)
    return _create_delegation(
        by, person, starts_at=now, ends_at=None, reason=reason, approval=approval
    )


@operation("delegation.grant")
def grant_delegation(
    *, by: Actor, to: str, starts_at: datetime, ends_at: datetime, reason: str = ""
) -> Delegation:
    """Let the person called ``to`` vote in the caller's seat from ``starts_at`` to ``ends_at``.

    Raises HumansOnly, UnknownPerson, Invalid, AlreadyDelegated (at that time, to anybody).
    """
    if not by.is_human:
        raise HumansOnly(kind=by.kind)
    # Two at once would both find no overlap: they take turns at the delegator's row.
    User.objects.select_for_update(no_key=True).get(pk=by.id)
    if ends_at <= max(starts_at, clock()):
        raise Invalid(field="ends_at", reason="it must lie ahead, and after the start.")
    person = _find_delegate(by, to)
    overlapping = Delegation.objects.filter(
        delegator_id=int(by.id),
        approval=None,
        status=Delegation.Status.ACTIVE,
        starts_at__lt=ends_at,
        ends_at__gt=starts_at,
    )
    if overlapping.exists():
        raise AlreadyDelegated()
    return _create_delegation(by, person, starts_at=starts_at, ends_at=ends_at, reason=reason)


@operation("delegation.end")
def end_delegation(delegation_id: UUID, *, by: Actor) -> Delegation:
    """End a delegation now: as its delegator, its delegate, or somebody who may change users.

    Raises NotFound, NotDelegator, InvalidTransition.
    """
    delegation = Delegation.objects.visible_to(by).lock(delegation_id)
    concerned = (delegation.delegator_id, delegation.delegate_id)
    if not by.is_human or (int(by.id) not in concerned and not _may_administer_people(by)):
        raise NotDelegator(delegation)
    perform(delegation.end, by=by)
    return delegation


def _create_delegation(
    by: Actor,
    person: User,
    *,
    starts_at: datetime,
    ends_at: datetime | None,
    reason: str,
    approval: Approval | None = None,
) -> Delegation:
    delegation = Delegation(
        delegator_id=int(by.id),
        delegate=person,
        approval=approval,
        starts_at=starts_at,
        ends_at=ends_at,
        reason=reason,
    )
    details = {
        "delegator": by.name,
        "delegate": person.get_username(),
    }
    return create(delegation, EventType.DELEGATION_GRANTED, by=by, details=details)


def _find_delegate(by: Actor, name: str) -> User:
    # Only staff can decide in the admin.
    people = User.objects.filter(Q(is_staff=True), username=name, is_active=True)
    person = people.exclude(pk=by.id).first()
    if person is None:
        raise UnknownPerson(field="to", name=name)
    return person


def _may_administer_people(by: Actor) -> bool:
    return User.objects.get(pk=by.id).has_perm("auth.change_user")
