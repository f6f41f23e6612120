"""Showing what is masked on the pages: who saw it is in the trail."""

import json
from collections.abc import Sequence
from uuid import UUID

from approvals_app.models import Approval
from approvals_app.payload.facts import format_path
from approvals_app.payload.sensitive import find_sensitive
from audit_app.base.actors import Actor
from audit_app.base.events import EventType
from audit_app.trail.operation import operation
from audit_app.trail.recording import record_event
from sessions_app.models import Task

MOST_NAMED = 100
"""Paths that one event names; it counts the others."""


@operation("approval.show_sensitive")
def show_sensitive(approval_id: UUID, *, by: Actor) -> Task:
    """The task of an approval, with its whole payload; that ``by`` saw it is recorded in the same
    transaction, where the payload has sensitive values.

    Raises NotFound.
    """
    approval = Approval.objects.visible_to(by).select_related("task").one(approval_id)
    if paths := list_sensitive(approval.task):
        # An event of its own: a look changes no approval, and waits for nobody who decides.
        record_event(
            EventType.APPROVAL_SENSITIVE_SHOWN,
            "disclosure",
            by=by,
            role=approval.audit_role,
            trace_id=approval.task.trace_id,
            details={
                "approval_id": str(approval.pk),
                "task_id": str(approval.task_id),
                "payload_digest": approval.task.payload_digest,
                "count": len(paths),
                "paths": paths[:MOST_NAMED],
            },
        )
    return approval.task


def list_sensitive(task: Task) -> Sequence[str]:
    """The paths of the sensitive values of a task's payload: ``data.plan.password``."""
    return [format_path(path) for path in find_sensitive(json.loads(task.payload))]
