"""What the contract promises of sessions, tasks and approvals, as plain objects in memory.

Written from the promises (docs/api.md, docs/states.md), not from the code: each method answers what
the server must answer, ``(status, code)``, and changes the model where the server must change.
"""

from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, str | None]
OPEN_SESSION = {"pending": {"active", "expired"}, "active": {"completed", "failed", "expired"}}
CANCELLABLE = ("awaiting_approval", "approved", "claimed")


@dataclass(eq=False)
class Subject:
    """Anything with a state; ``moves`` is what its events must tell, one for each version."""

    id: str
    status: str
    moves: list[tuple[str | None, str | None]] = field(init=False)

    def __post_init__(self) -> None:
        self.moves = [(None, self.status)]

    @property
    def version(self) -> int:
        return len(self.moves)

    def become(self, status: str) -> None:
        self.moves.append((self.status, status))
        self.status = status

    def change(self) -> None:
        self.moves.append((None, None))


@dataclass(eq=False)
class Caller:
    """An agent, or a person where ``human``."""

    name: str
    roles: frozenset[str]
    human: bool = False
    owner: str | None = None


@dataclass(eq=False)
class Session(Subject):
    agent: Caller
    role: str
    metadata: dict[str, Any]


@dataclass(eq=False)
class Task(Subject):
    agent: Caller
    to_role: str
    notification: bool
    digest: str = ""
    claimed_by: Caller | None = None
    approvals: "list[Approval]" = field(default_factory=list)

    def visible_to(self, caller: Caller) -> bool:
        if self.to_role in caller.roles or self.agent is caller:
            return True
        return caller.human and any(a.role in caller.roles for a in self.approvals)

    @property
    def pending(self) -> "list[Approval]":
        return [approval for approval in self.approvals if approval.status == "pending"]


@dataclass(eq=False)
class Approval(Subject):
    task: Task
    role: str
    decided_by: Caller | None = None


class Model:
    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.tasks: list[Task] = []
        self.approvals: list[Approval] = []

    # Sessions

    def may_open(self, caller: Caller, role: str) -> Answer:
        return (201, None) if role in caller.roles else (403, "role_not_held")

    def add_session(self, id: str, agent: Caller, role: str, metadata: dict[str, Any]) -> Session:
        session = Session(id, "pending", agent, role, metadata)
        self.sessions.append(session)
        return session

    def update(
        self,
        caller: Caller,
        session: Session,
        status: str | None,
        patch: dict[str, Any] | None,
        versions: set[int] | None,
    ) -> Answer:
        if session.agent is not caller:
            return 404, "not_found"
        if versions is not None and session.version not in versions:
            return 412, "stale_version"
        if status is not None and status not in OPEN_SESSION.get(session.status, ()):
            return 409, "invalid_transition"
        if patch is not None:
            session.metadata = merge_patch(session.metadata, patch)
        if status is not None:
            session.become(status)
        elif patch is not None:
            session.change()
        return 200, None

    # Tasks

    def add_task(self, id: str, agent: Caller, target: str, *, notification: bool) -> Task:
        first = "approved" if notification else "awaiting_approval"
        task = Task(id, first, agent, target, notification)
        self.tasks.append(task)
        return task

    def add_approval(self, id: str, task: Task, role: str) -> Approval:
        approval = Approval(id, "pending", task, role)
        task.approvals.append(approval)
        self.approvals.append(approval)
        return approval

    def claim(self, caller: Caller, task: Task) -> Answer:
        if not task.visible_to(caller):
            return 404, "not_found"
        if task.to_role not in caller.roles:
            return 403, "role_not_held"
        if task.notification:
            return 409, "invalid_transition"
        if task.status == "claimed":
            return 409, "already_claimed" if task.claimed_by is caller else "task_taken"
        if task.status != "approved":
            return 409, "invalid_transition"
        task.become("claimed")
        task.claimed_by = caller
        return 200, None

    def extend(self, caller: Caller, task: Task) -> Answer:
        if not task.visible_to(caller):
            return 404, "not_found"
        if task.status != "claimed":
            return 409, "invalid_transition"
        if task.claimed_by is not caller:
            return 403, "not_claimant"
        task.change()
        return 200, None

    def finish(self, caller: Caller, task: Task, status: str) -> Answer:
        """``completed`` or ``failed``."""
        if not task.visible_to(caller):
            return 404, "not_found"
        if task.notification and task.status == "approved" and status == "completed":
            if task.to_role not in caller.roles:
                return 403, "role_not_held"
            task.become("claimed")
            task.become("completed")
            return 200, None
        if task.status != "claimed":
            return 409, "invalid_transition"
        if task.claimed_by is not caller:
            return 403, "not_claimant"
        task.become(status)
        return 200, None

    def cancel(self, caller: Caller, task: Task) -> Answer:
        if not task.visible_to(caller):
            return 404, "not_found"
        if task.agent is not caller:
            return 403, "not_router"
        if task.status not in CANCELLABLE:
            return 409, "invalid_transition"
        task.become("cancelled")
        for approval in task.pending:
            approval.become("withdrawn")
        return 200, None

    # Approvals

    def may_ask(self, caller: Caller, task: Task, role: str) -> Answer:
        if caller.human:
            return 403, "agents_only"
        if not task.visible_to(caller):
            return 404, "not_found"
        if task.status != "awaiting_approval":
            return 409, "task_not_waiting"
        if any(approval.role == role for approval in task.pending):
            return 409, "approval_pending"
        return 201, None

    def decide(
        self, caller: Caller, approval: Approval, status: str, *, right_digest: bool
    ) -> Answer:
        """``approved`` or ``rejected``."""
        refusal = self._may_decide(caller, approval, right_digest=right_digest)
        if refusal:
            return refusal
        task = approval.task
        approval.become(status)
        approval.decided_by = caller
        if status == "rejected":
            task.become("rejected")
            for other in task.pending:
                other.become("withdrawn")
        elif not task.pending:
            task.become("approved")
        return 200, None

    def _may_decide(
        self, caller: Caller, approval: Approval, *, right_digest: bool
    ) -> Answer | None:
        task = approval.task
        asked = caller.human and approval.role in caller.roles
        if not (asked or task.visible_to(caller)):
            return 404, "not_found"
        if not caller.human:
            return 403, "humans_only"
        if approval.status != "pending":
            return 409, "already_decided"
        if approval.role not in caller.roles:
            return 403, "not_eligible"
        if task.agent.owner == caller.name:
            return 403, "separation_of_duties"
        if any(other.decided_by is caller for other in task.approvals):
            return 403, "one_voice_each"
        return None if right_digest else (409, "payload_digest_mismatch")


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result
