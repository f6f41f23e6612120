"""Care for what one approves: for how long somebody looks at it, and what they type out of it."""

from datetime import datetime, timedelta
from typing import Any

from approvals_app.errors import LookFirst, NotTyped
from approvals_app.models import Approval, Viewer
from audit_app.base.actors import Actor
from audit_app.base.prepared import Prepared


def measure_review_time(approval: Approval, by: Actor, now: datetime) -> timedelta | None:
    """For how long ``by`` has looked at ``approval``; None: its page was not opened."""
    opened = _opened_at(approval=approval.pk, user=int(by.id))
    return max(now - opened[0][0], timedelta()) if opened else None


_opened_at: Prepared[tuple[datetime]] = Prepared(
    lambda approval, user: Viewer.objects.filter(approval=approval, user=user).values_list(
        "first_at"
    )
)


def seconds_left(approval: Approval, looked: timedelta) -> int:
    """How much longer whoever has ``looked`` at ``approval`` has to."""
    if not approval.look_for:
        return 0
    left = approval.look_for - looked
    return max(0, -(-left // timedelta(seconds=1)))


def check_requirements(approval: Approval, looked: timedelta | None, typed: str) -> None:
    """Raises LookFirst and NotTyped where the policy wants more care of a yes."""
    if approval.look_for:
        left = approval.look_for - (looked or timedelta())
        if left > timedelta():
            raise LookFirst(approval, seconds_left=-(-left // timedelta(seconds=1)))
    wanted = text_to_type(approval)
    if wanted and typed.strip() != wanted:
        raise NotTyped(field="typed", path=approval.type_out)


def text_to_type(approval: Approval) -> str:
    """What a yes to ``approval`` types out; empty: nothing. Where the payload has no such member,
    the type of the task, so that leaving it out spares nobody the care."""
    if not approval.type_out:
        return ""
    value: Any = {name: getattr(approval.task, name) for name in ("data", "context")}
    for member in approval.type_out.split("."):
        value = value.get(member) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return approval.task.task_type
    return str(value).strip() or approval.task.task_type
