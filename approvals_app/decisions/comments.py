"""Comments on approvals: words that decide and block nothing."""

from uuid import UUID

from approvals_app.errors import HumansOnly
from approvals_app.models import Approval, Comment
from audit_app.base.actors import Actor
from audit_app.base.events import EventType
from audit_app.trail.operation import operation
from audit_app.trail.recording import create


@operation("approval.comment")
def add_comment(approval_id: UUID, *, by: Actor, text: str) -> Comment:
    """Add a comment to an approval, also after it was decided.

    Everybody who sees the approval sees it, its agent too. Raises HumansOnly and NotFound.
    """
    if not by.is_human:
        raise HumansOnly(kind=by.kind)
    # Locked, so that it is not purged meanwhile.
    approval = Approval.objects.lock_visible_with_task(by, approval_id)
    comment = Comment(
        approval=approval,
        author_id=int(by.id),
        text=text,
        role=approval.approver_role,
        trace_id=approval.trace_id,
    )
    details = {"approval_id": str(approval.pk), "text": text}
    return create(comment, EventType.COMMENT_ADDED, by=by, details=details)
