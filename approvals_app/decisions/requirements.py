"""What a policy requires of a yes: a minimum review time, and typing a value of the payload."""

from datetime import datetime, timedelta
from typing import Any

from approvals_app.errors import LookFirst, NotTyped
from approvals_app.models import Approval, Viewer
from audit_app.base.actors import Actor
from audit_app.base.prepared import Prepared


def measure_review_time(approval: Approval, by: Actor, now: datetime) -> timedelta | None:
    """How long ``by`` has had the page of ``approval`` open; None if they never opened it."""
    rows = _opened_at(approval=approval.pk, user=int(by.id))
    # Not below zero: the page's time and ``now`` are read by different clocks.
    return max(now - rows[0][0], timedelta()) if rows else None


_opened_at: Prepared[tuple[datetime]] = Prepared(
    lambda approval, user: Viewer.objects.filter(approval=approval, user=user).values_list(
        "first_at"
    )
)


def seconds_left(approval: Approval, review_time: timedelta) -> int:
    """How many more seconds the policy requires after ``review_time``, rounded up."""
    if not approval.look_for:
        return 0
    left = approval.look_for - review_time
    return max(0, -(-left // timedelta(seconds=1)))


def check_requirements(approval: Approval, review_time: timedelta | None, typed: str) -> None:
    """Raise LookFirst or NotTyped if a yes does not meet the policy's requirements."""
    if approval.look_for:
        left = approval.look_for - (review_time or timedelta())
        if left > timedelta():
            raise LookFirst(approval, seconds_left=-(-left // timedelta(seconds=1)))
    if approval.type_out and typed.strip() != text_to_type(approval):
        raise NotTyped(field="typed", path=approval.type_out)


def text_to_type(approval: Approval) -> str:
    """The text that a yes to ``approval`` must type; empty if there is none."""
    if not approval.type_out:
        return ""
    value: Any = {name: getattr(approval.task, name) for name in ("data", "context")}
    for member in approval.type_out.split("."):
        value = value.get(member) if isinstance(value, dict) else None
    # A payload without the member does not lift the requirement: the task's type is typed instead.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return approval.task.task_type
    return str(value).strip() or approval.task.task_type
