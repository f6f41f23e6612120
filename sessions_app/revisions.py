"""What a task asks for: judged when it is routed, and again with each revision of it."""

from typing import Any

from audit_app.actors import Actor
from audit_app.canonical import digest
from audit_app.errors import InvalidTransition, OrchestratorError
from audit_app.trail import perform
from sessions_app.errors import NothingRevised
from sessions_app.gate import Kind, Verdict, approval_gate
from sessions_app.models import Task, TaskRevision

STAYS = ("agent_id", "task_type", "from_role", "to_role", "on_behalf_of")


def judged(task: Task) -> Verdict:
    """What the floor above says of ``task`` as it is asked for now. Raises what refuses it."""
    (said,) = approval_gate().evaluate([task])
    if isinstance(said, OrchestratorError):
        raise said
    return said


def told(verdict: Verdict) -> dict[str, Any]:
    """``verdict`` for the metadata of an event."""
    return {
        "verdict": verdict.kind.value,
        "policy": verdict.policy,
        "policy_version": verdict.policy_version,
        "why": verdict.why,
    }


def revise(
    task: Task, *, by: Actor, changes: dict[str, Any], details: dict[str, Any] | None = None
) -> None:
    """Give ``task``, which the caller has locked, another payload: part of an operation.

    What it asked for is kept as a TaskRevision, nobody is asked about that any more, and the new
    payload is judged as if it were routed now. Raises InvalidTransition, NothingRevised.
    """
    if task.status != Task.Status.AWAITING_APPROVAL:
        allowed = task.transitions_allowed()
        raise InvalidTransition(
            task, what="task", state=task.status, transition="revise", allowed=allowed
        )
    gate = approval_gate()
    gate.check_revisable(task)
    payload = {name: getattr(task, name) for name in Task.EDITABLE} | changes
    asked = Task(**{name: getattr(task, name) for name in STAYS} | payload)
    asked.seal_payload()
    if asked.payload == task.payload:
        raise NothingRevised(task)
    replaces = task.payload_digest
    TaskRevision.objects.create(
        task=task, number=task.revision, payload=task.payload, edited_by_id=task.edited_by_id
    )
    gate.withdraw_approvals(task, by=by, why="The task was revised.")
    verdict = judged(asked)
    named = {"payload_digest": digest(asked.payload), "replaces": replaces}
    perform(
        task.revise,
        by=by,
        details=named | told(verdict) | (details or {}),
        edited_by_id=int(by.id) if by.is_human else None,
        verdict=verdict,
        **payload,
    )
    if verdict.kind is Kind.APPROVE:
        perform(task.approve, by=Actor.system("policy"))
    elif verdict.kind is Kind.REFUSE:
        perform(task.reject, by=Actor.system("policy"))
    gate.request_approvals([(task, verdict)], by=by)
