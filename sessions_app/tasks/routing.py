"""New tasks: from what an agent asks for to rows that are judged and recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any
from uuid import UUID

from audit_app.base.actors import Actor
from audit_app.base.errors import IdempotencyKeyReused, OrchestratorError
from audit_app.base.events import EventType
from audit_app.trail.bulk import create_all
from audit_app.trail.idempotency import waiting_for_rivals
from sessions_app.errors import RoleNotHeld
from sessions_app.gate import Outcome, PolicyDecision, approval_gate
from sessions_app.models import AgentSession, Task
from sessions_app.tasks.revisions import told

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


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """A task as an agent asks for it.

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
        """The row, neither judged nor saved. Raises RoleNotHeld where the sender has no role."""
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


def create_tasks(
    asked: Sequence[NewTask], sender: Sender, *, by: Actor
) -> list[Task | OrchestratorError]:
    """Create a task for each of ``asked``, whose keys differ, and ask for the approvals that they
    need: part of an operation. Returns for each its task, or the error that refuses it.

    The number of statements does not depend on that of the tasks. A rival with one of the keys is
    waited for, and IdempotencyKeyReused is returned where it commits. Raises RequestInProgress.
    """
    gate = approval_gate()
    results: list[Task | OrchestratorError] = []
    for new in asked:
        try:
            results.append(new.build(sender))
        except OrchestratorError as refusal:
            results.append(refusal)
    tasks = [result for result in results if isinstance(result, Task)]
    judged: list[tuple[Task, PolicyDecision]] = []
    refusals: dict[UUID, OrchestratorError] = {}
    for task, verdict in zip(tasks, gate.evaluate(tasks), strict=True):
        if isinstance(verdict, OrchestratorError):
            refusals[task.pk] = verdict
        else:
            start(task, verdict)
            judged.append((task, verdict))
    with waiting_for_rivals():
        created = create_all(
            [task for task, _ in judged],
            EventType.TASK_ROUTED,
            by=by,
            details=[event_details(*each) for each in judged],
            once=ONCE,
        )
    # A key whose receipt is forgotten may have its task still, and a rival's is there by now.
    there = {task.pk for task in created}
    gate.request_approvals([each for each in judged if each[0].pk in there], by=by)

    def outcome(result: Task | OrchestratorError) -> Task | OrchestratorError:
        if isinstance(result, OrchestratorError) or result.pk in there:
            return result
        return refusals.get(result.pk) or IdempotencyKeyReused()

    return [outcome(result) for result in results]


def start(task: Task, verdict: PolicyDecision) -> None:
    """Put ``task``, not saved, into the state that its verdict leads to, and seal its payload."""
    status: Any = Task._meta.get_field("status")
    status.set_state(task, FIRST_STATE[verdict.kind])  # no transition leads into a first state
    task.store_decision(verdict)
    task.seal_payload()


def event_details(task: Task, verdict: PolicyDecision) -> dict[str, Any]:
    """The metadata of the event of a new task."""
    return {"payload_digest": task.payload_digest, **told(verdict)}
