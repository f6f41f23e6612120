"""Several decisions in one request, each its own operation with its own digest."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import orjson

from approvals_app.decisions import operations
from approvals_app.models import Approval
from approvals_app.payload import questions
from approvals_app.payload.facts import Level
from approvals_app.payload.summary import MOST_KNOWN, Summary
from audit_app.base.actors import Actor
from audit_app.base.errors import OrchestratorError
from audit_app.base.text_safety import find_suspicious
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


class BulkCandidate(Protocol):
    """What ``why_not_in_bulk`` asks of a row. ``payload`` is its text, or None if it is large."""

    @property
    def approval(self) -> Approval: ...
    @property
    def payload(self) -> str | None: ...
    @property
    def facts(self) -> Summary | None: ...
    @property
    def changes_requested(self) -> bool: ...


def why_not_in_bulk(row: BulkCandidate) -> str:
    """Why nobody should approve ``row`` without opening it; "" if its line tells enough.

    The page of several decisions refuses these. The API does not: a program reads no page.
    """
    approval = row.approval
    if approval.override_id:
        return "Emergency approval: review it on its page."
    if row.changes_requested:
        return "Changes requested."
    if approval.risk == Approval.Risk.HIGH:
        return "High risk: open it to approve."
    if approval.type_out:
        return "The policy asks you to type a value: open it."
    if approval.look_for:
        return "The policy asks you to read it first: open it."
    if approval.signed == Approval.Signed.REQUIRED:
        return "Votes on it are signed: open it."
    if approval.must_confirm:
        return "The policy asks you to confirm an instruction: open it."
    if questions.is_question(approval.task.task_type):
        return "A question: open it to answer."
    if row.payload is None:
        return "Large payload: open it to approve."
    if warnings := find_warnings(approval.payload_digest, row.payload):
        return f"Suspicious text ({warnings}): open it to approve."
    if row.facts and row.facts.level is Level.DANGER:
        return f"{row.facts.facts[0].label.capitalize()}: open it to approve."
    return ""


def find_warnings(digest: str, payload: str) -> str:
    """What is suspicious in ``payload``, from memory where it was asked for lately."""
    known = _warnings.get(digest)
    if known is None:
        known = find_suspicious(orjson.loads(payload)).words()
        if len(_warnings) >= MOST_KNOWN:
            _warnings.clear()
        _warnings[digest] = known
    return known


_warnings: dict[str, str] = {}
