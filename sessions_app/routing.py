"""A task made of what an agent asks for: judged, sealed, and what its event says."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit_app.canonical import digest
from sessions_app.errors import RoleNotHeld
from sessions_app.gate import Kind, Verdict
from sessions_app.models import AgentSession, Task
from sessions_app.revisions import told

FIRST_STATE = {
    Kind.APPROVE: Task.Status.APPROVED,
    Kind.REQUIRE: Task.Status.AWAITING_APPROVAL,
    Kind.REFUSE: Task.Status.REJECTED,
}


@dataclass(frozen=True, slots=True)
class Router:
    """The agent that routes, from which of its sessions, in which roles, and in which trace."""

    agent_id: UUID
    roles: tuple[str, ...]
    session: AgentSession | None
    trace_id: UUID

    def asks(
        self,
        *,
        target: str,
        task_type: str,
        idempotency_key: str,
        description: str = "",
        data: Any = None,
        context: Any = None,
        on_behalf_of: str = "",
    ) -> Task:
        """A task that nobody judged yet. It speaks for the role of its session, else for the
        agent's first role. Raises RoleNotHeld."""
        if not self.session and not self.roles:
            raise RoleNotHeld(role=target)
        return Task(
            agent_id=self.agent_id,
            session=self.session,
            task_type=task_type,
            description=description,
            from_role=self.session.role if self.session else self.roles[0],
            to_role=target,
            data={} if data is None else data,
            context={} if context is None else context,
            trace_id=self.trace_id,
            idempotency_key=idempotency_key,
            on_behalf_of=on_behalf_of,
        )


def begin(task: Task, verdict: Verdict) -> None:
    """Put ``task``, not saved, where its verdict puts it, and seal its payload."""
    field: Any = Task._meta.get_field("status")
    field.set_state(task, FIRST_STATE[verdict.kind])  # no transition leads into a first state
    task.judge(verdict)
    task.seal_payload()


def said_of(task: Task, verdict: Verdict) -> dict[str, Any]:
    """What the event of a new task says."""
    return {"payload_digest": digest(task.payload), **told(verdict)}
