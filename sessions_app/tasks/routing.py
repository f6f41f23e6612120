"""Routing: from the new tasks that an agent sends to rows that are evaluated and recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any
from uuid import UUID

from audit_app.base.actors import Actor
from audit_app.base.errors import IdempotencyKeyReused, OrchestratorError
from audit_app.base.events import EventType
from audit_app.trail.batch_idempotency import Outcome as BatchOutcome
from audit_app.trail.batch_idempotency import once_each
from audit_app.trail.bulk import create_all
from audit_app.trail.idempotency import Receipt, wait_for_duplicates
from audit_app.trail.operation import operation
from sessions_app.errors import RoleNotHeld
from sessions_app.gate import Outcome, PolicyDecision, approval_gate
from sessions_app.models import AgentSession, Task
from sessions_app.operations import _holds, _open_session_of

FIRST_STATE = {
    Outcome.APPROVE: Task.Status.APPROVED,
    Outcome.REQUIRE: Task.Status.AWAITING_APPROVAL,
    Outcome.REFUSE: Task.Status.REJECTED,
}
ONCE = ("agent_id", "idempotency_key")
"""The columns of the constraint tasks_once_per_key."""


@dataclass(frozen=True, slots=True)
class Sender:
    """The agent that routes, from which of its sessions, in which role, and in which trace."""

    agent_id: UUID
    role: str | None
    session: AgentSession | None
    trace_id: UUID

    @classmethod
    def find(cls, by: Actor, session_id: UUID | None, trace_id: UUID) -> "Sender":
        """Who routes. Raises AgentsOnly, RoleNotHeld, UnknownSession, SessionClosed."""
        agent = by.require_agent()
        if session_id is None:
            return cls(agent, by.roles[0] if by.roles else None, None, trace_id)
        session = _open_session_of(by, session_id)
        _holds(by, session.role)
        return cls(agent, session.role, session, trace_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task as an agent sends it.

    RouteTaskSerializer validates to these fields, and the columns of the row have their names.
    """

    to_role: str
    task_type: str
    idempotency_key: str
    description: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    on_behalf_of: str = ""

    def build(self, sender: Sender) -> Task:
        """Return the row, neither evaluated nor saved. Raises RoleNotHeld for a sender without a
        role."""
        if sender.role is None:
            raise RoleNotHeld(role=self.to_role)
        return Task(
            agent_id=sender.agent_id,
            session=sender.session,
            from_role=sender.role,
            trace_id=sender.trace_id,
            **{name: getattr(self, name) for name in COLUMNS},
        )


COLUMNS = tuple(each.name for each in fields(NewTask))


@operation("task.route")
def route_task(new: NewTask, *, by: Actor, trace_id: UUID, session_id: UUID | None = None) -> Task:
    """Route a task to a role. The approval gate says who must approve it first.

    What the gate refuses is kept as a task rejected at once, with the reason. The task speaks for
    the role of its session, else for the agent's first role. Raises AgentsOnly, RoleNotHeld,
    UnknownSession, SessionClosed, RequestInProgress, IdempotencyKeyReused (the key has its task
    already), and what the gate's ``evaluate`` returns as an error.
    """
    sender = Sender.find(by, session_id, trace_id)
    (result,) = create_tasks([new], sender, by=by)
    if isinstance(result, OrchestratorError):
        raise result
    return result


@operation("task.route_batch")
def route_tasks(
    new_tasks: Sequence[NewTask],
    receipts: Sequence[Receipt],
    *,
    by: Actor,
    trace_id: UUID,
    session_id: UUID | None = None,
) -> list[BatchOutcome]:
    """Route each of ``new_tasks`` as ``route_task`` does, once under its receipt.

    A refusal is the outcome of the tasks that it concerns; the others are routed. Of two concurrent
    batches with the same keys, the second waits for the first and returns its answers. Raises
    Outrun, RequestInProgress.
    """

    def route(numbers: Sequence[int]) -> Sequence[Task | OrchestratorError]:
        try:
            sender = Sender.find(by, session_id, trace_id)
        except OrchestratorError as refusal:
            return [refusal] * len(numbers)
        return create_tasks([new_tasks[number] for number in numbers], sender, by=by)

    return once_each(route_task.name, receipts, route, by=by)


def create_tasks(
    new_tasks: Sequence[NewTask], sender: Sender, *, by: Actor
) -> list[Task | OrchestratorError]:
    """Create a task for each of ``new_tasks``, whose keys differ, and request the approvals that
    they need: part of an operation. Returns for each its task, or the error that refuses it.

    The number of statements does not depend on the number of tasks. Waits for a concurrent request
    with one of the keys, and returns IdempotencyKeyReused where that one commits. Raises
    RequestInProgress.
    """
    gate = approval_gate()
    results: list[Task | OrchestratorError] = []
    for new in new_tasks:
        try:
            task = new.build(sender)
            task.seal_payload()
            results.append(task)
        except OrchestratorError as refusal:
            results.append(refusal)
    tasks = [result for result in results if isinstance(result, Task)]
    evaluated: list[tuple[Task, PolicyDecision]] = []
    status: Any = Task._meta.get_field("status")
    refusals: dict[UUID, OrchestratorError] = {}
    for task, verdict in zip(tasks, gate.evaluate(tasks), strict=True):
        if isinstance(verdict, OrchestratorError):
            refusals[task.pk] = verdict
        else:
            # No transition leads into a first state.
            status.set_state(task, FIRST_STATE[verdict.kind])
            task.store_decision(verdict)
            evaluated.append((task, verdict))
    with wait_for_duplicates():
        created = create_all(
            [task for task, _ in evaluated],
            EventType.TASK_ROUTED,
            by=by,
            once=ONCE,
        )
    # A key may still have its task after its receipt expired, and a concurrent request may have
    # created it by now.
    inserted = {task.pk for task in created}
    approvals = gate.request_approvals(
        [each for each in evaluated if each[0].pk in inserted], by=by
    )
    eligible = gate.count_eligible(approvals)
    for task in created:
        task.eligible = eligible.get(task.pk)
    return [
        result
        if isinstance(result, OrchestratorError) or result.pk in inserted
        else refusals.get(result.pk) or IdempotencyKeyReused()
        for result in results
    ]
