"""What can be done to a task that was routed: revise, claim, complete, fail, cancel."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from audit_app.base.actors import Actor
from audit_app.base.errors import InvalidTransition
from audit_app.trail.operation import clock, operation
from audit_app.trail.recording import perform
from sessions_app.errors import (
    ApprovalConsumed,
    ApprovalLapsed,
    LeaseExpired,
    NotClaimant,
    NotRouter,
    TaskTaken,
)
from sessions_app.gate import approval_gate
from sessions_app.models import Task
from sessions_app.operations import _holds, _open_session_of
from sessions_app.tasks.revisions import revise


@operation("task.revise")
def revise_task(
    task_id: UUID,
    *,
    by: Actor,
    description: str | None = None,
    data: Any = None,
    context: Any = None,
) -> Task:
    """The router's own next revision of a task that waits; None leaves a member as it is.

    Raises AgentsOnly, NotFound, NotRouter, InvalidTransition, NothingRevised.
    """
    by.require_agent()
    task = Task.objects.lock_visible(by, task_id)
    _routed_by(task, by)
    given = {"description": description, "data": data, "context": context}
    revise(task, by=by, changes={name: v for name, v in given.items() if v is not None})
    return task


@operation("task.claim")
def claim(task_id: UUID, *, by: Actor, lease: timedelta, session_id: UUID | None = None) -> Task:
    """Take an approved task of one of the agent's roles, to execute it until the lease runs out.

    A claim whose lease ran out is released first: that is recorded too. Of two concurrent
    claims, the second waits for the row and then gets TaskTaken. A notification can't be claimed,
    only acknowledged, since nobody was asked about it. What humans approved is executed once: the
    first claim uses their approval up, and only the agent that made it can claim again. Raises
    NotFound, RoleNotHeld, TaskTaken, ApprovalConsumed, ApprovalLapsed, InvalidTransition,
    UnknownSession, SessionClosed.
    """
    agent = by.require_agent()
    task = Task.objects.lock_visible(by, task_id)
    _holds(by, task.to_role, task)
    if task.task_type == Task.NOTIFICATION:
        raise InvalidTransition(
            task, what="notification", state=task.status, transition="claim", allowed=["complete"]
        )
    session = _open_session_of(by, session_id) if session_id else None
    now = clock()
    if task.status == Task.Status.CLAIMED:
        if _lease_end(task) > now:
            raise TaskTaken(task)
        perform(task.release, by=Actor.system("lease"))
    _may_be_used(task, agent, now)
    perform(task.claim, by=by, agent_id=agent, session_id=session and session.pk, until=now + lease)
    return task


@operation("task.complete")
def complete(
    task_id: UUID, *, by: Actor, result: Any = None, session_id: UUID | None = None
) -> Task:
    """Report a claimed task done; a notification needs no claim, to acknowledge it is enough.

    Raises NotFound, NotClaimant, LeaseExpired, InvalidTransition.
    """
    task = Task.objects.lock_visible(by, task_id)
    if task.task_type == Task.NOTIFICATION and task.status == Task.Status.APPROVED:
        agent = by.require_agent()
        _holds(by, task.to_role, task)
        perform(task.claim, by=by, agent_id=agent, session_id=None, until=clock())
    else:
        _holds_lease(task, by, session_id)
    perform(task.complete, by=by, result=result)
    return task


@operation("task.fail")
def fail(task_id: UUID, *, by: Actor, error: Any = None, session_id: UUID | None = None) -> Task:
    """Report a claimed task failed. Raises as ``complete`` does."""
    task = Task.objects.lock_visible(by, task_id)
    _holds_lease(task, by, session_id)
    perform(task.fail, by=by, error=error)
    return task


@operation("task.cancel")
def cancel(task_id: UUID, *, by: Actor, reason: str = "") -> Task:
    """Take a task back, approvals and all. Raises NotFound, NotRouter, InvalidTransition."""
    task = Task.objects.lock_visible(by, task_id)
    _routed_by(task, by)
    perform(task.cancel, by=by, details={"reason": reason})
    approval_gate().withdraw_approvals(task, by=by, why="The task was cancelled.")
    return task


def _routed_by(task: Task, by: Actor) -> None:
    if not by.is_agent or task.agent_id != UUID(by.id):
        raise NotRouter(task)


def _may_be_used(task: Task, agent: UUID, now: datetime) -> None:
    """Whether the humans' approval of ``task``, if it needed any, is still good for ``agent``."""
    if task.status != Task.Status.APPROVED or task.approved_until is None:
        return
    if task.consumed_by_id not in (None, agent):
        raise ApprovalConsumed(task)
    if task.approved_until <= now:
        raise ApprovalLapsed(task, approved_until=task.approved_until.isoformat())


def _lease_end(task: Task) -> datetime:
    assert task.lease_expires_at is not None  # constraint tasks_claimed_with_a_lease
    return task.lease_expires_at


def _holds_lease(task: Task, by: Actor, session_id: UUID | None) -> None:
    if task.status != Task.Status.CLAIMED:
        return  # the state machine refuses, and says what is possible
    another_session = session_id and task.claimed_session_id not in (None, session_id)
    if not by.is_agent or task.claimed_by_id != UUID(by.id) or another_session:
        raise NotClaimant(task)
    if _lease_end(task) <= clock():
        raise LeaseExpired(task, expired_at=_lease_end(task).isoformat())
