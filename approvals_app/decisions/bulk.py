"""Several decisions in one request, each its own operation with its own digest."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from approvals_app.decisions import operations
from approvals_app.models import Approval
from audit_app.base.actors import Actor
from audit_app.base.errors import OrchestratorError
from audit_app.trail.operation import Operation

DECISIONS: dict[str, Operation[..., Approval]] = {
    "approve": operations.approve,
    "reject": operations.reject,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one decision: the approval as it is now, or the error that refused it."""

    approval_id: UUID
    approval: Approval | None = None
    refusal: OrchestratorError | None = None


def decide(decisions: Iterable[dict[str, Any]], *, by: Actor) -> Iterator[Outcome]:
    """Make each of ``decisions`` ({approval_id, decision, payload_digest, notes?}) in order.

    A refused decision does not stop the others. An unreachable database does: the rest is not
    attempted.
    """
    for item in decisions:
        arguments = dict(item)
        approval_id, decision = arguments.pop("approval_id"), arguments.pop("decision")
        try:
            approval = DECISIONS[decision](approval_id, by=by, **arguments)
        except OrchestratorError as refusal:
            yield Outcome(approval_id, refusal=refusal)
        else:
            yield Outcome(approval_id, approval=approval)
