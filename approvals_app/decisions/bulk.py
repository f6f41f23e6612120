"""Several decisions at once, each through its own operation and with its own digest."""

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
    """What became of one of them: the approval as it is now, or why it was refused."""

    approval_id: UUID
    approval: Approval | None = None
    refusal: OrchestratorError | None = None


def decide(decisions: Iterable[dict[str, Any]], *, by: Actor) -> Iterator[Outcome]:
    """Make each of ``decisions`` ({approval_id, decision, payload_digest, notes?}) in order.

    A refused one stops nothing and is told of in its place; the database being away stops all that
    follow, which were not begun.
    """
    for wanted in decisions:
        given = dict(wanted)
        approval_id, decision = given.pop("approval_id"), given.pop("decision")
        try:
            approval = DECISIONS[decision](approval_id, by=by, **given)
        except OrchestratorError as refusal:
            yield Outcome(approval_id, refusal=refusal)
        else:
            yield Outcome(approval_id, approval=approval)
