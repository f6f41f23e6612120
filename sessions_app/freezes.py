"""Operations that freeze an agent, a role or everything, and lift that again."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.contrib.auth.models import Group
from django.db import IntegrityError, connection

from audit_app.base.actors import Actor, may_administer
from audit_app.base.errors import NotFound
from audit_app.base.events import EventType
from audit_app.trail.operation import operation, violated_constraint
from audit_app.trail.recording import create, perform
from sessions_app.errors import AlreadyFrozen, NoRightToFreeze, NotFrozen
from sessions_app.models import Agent, Freeze, Task

FREEZE: Final = "sessions_app.freeze"


@operation("freeze.begin")
def begin_freeze(
    scope: str, *, by: Actor, reason: str, agent: str | None = None, role: str | None = None
) -> Freeze:
    """Freeze the agent of this name, the role, or everything.

    It waits for the claims that have begun; after its commit no claim that it covers commits. A
    trigger sees to both. Raises NoRightToFreeze, NotFound (no such agent or role), AlreadyFrozen.
    """
    _check_right(by)
    freeze = Freeze(scope=scope, role=role, reason=reason, frozen_by=str(by))
    if scope == Freeze.Scope.AGENT:
        freeze.agent = Agent.objects.filter(name=agent).first()
        if freeze.agent is None:
            raise NotFound(what="agent")
    # A misspelt role would be frozen to no effect.
    if scope == Freeze.Scope.ROLE and not _is_known(str(role)):
        raise NotFound(what="role")
    try:
        return create(freeze, EventType.FREEZE_BEGAN, by=by, details=_assurance(by))
    except IntegrityError as error:
        if violated_constraint(error) == "freezes_once":
            raise AlreadyFrozen(target=freeze.target) from error
        raise


@operation("freeze.lift")
def lift_freeze(freeze_id: UUID, *, by: Actor, reason: str = "") -> Freeze:
    """Lift one freeze; others that cover the same tasks stay.

    Leases and the validity of approvals go on with the time that they had left. Raises
    NoRightToFreeze, NotFound, NotFrozen.
    """
    _check_right(by)
    freeze = Freeze.objects.select_for_update(no_key=True, of=("self",)).filter(pk=freeze_id)
    found = freeze.select_related("agent").first()
    if found is None:
        raise NotFound(what="freeze")
    if found.status != Freeze.Status.ACTIVE:
        raise NotFrozen(found)
    perform(found.lift, by=by, details={"reason": reason, **_assurance(by)})
    return found


def list_active() -> Sequence[Freeze]:
    """What is frozen now, the latest first."""
    return list(Freeze.objects.active())


def list_concerning(actor: Actor) -> Sequence[Freeze]:
    """What is frozen now and concerns all that ``actor`` reviews, the latest first."""
    return list(Freeze.objects.active().concerning(actor))


def list_covering(task: Task) -> Sequence[Freeze]:
    """The freezes that cover ``task`` now, the latest first."""
    return [each for each in list_active() if each.covers(task)]


def has_passed(deadline: datetime, task: Task, claimant: UUID | None) -> bool:
    """Whether a deadline of ``task``, set by its last change, has passed: see deadline_passed()."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT deadline_passed(%s, %s, %s, %s, %s, %s)",
            [deadline, task.updated_at, task.agent_id, claimant, task.from_role, task.to_role],
        )
        passed: bool = cursor.fetchone()[0]
        return passed


def _assurance(by: Actor) -> dict[str, Any]:
    return by.assurance.as_details() if by.is_human else {}


def _check_right(by: Actor) -> None:
    if not may_administer(by, FREEZE):
        raise NoRightToFreeze


def _is_known(role: str) -> bool:
    is_held = Agent.objects.filter(roles__contains=[role]).exists()
    return is_held or Group.objects.filter(name=role).exists()
