"""What a policy requires of a yes: a minimum review time, and typing a value of the payload."""

from datetime import datetime, timedelta
from typing import Any

from approvals_app.errors import LookFirst, NotTyped
from approvals_app.models import Approval, Viewer
from approvals_app.payload.money import is_same_amount
from audit_app.base.actors import Actor
from audit_app.base.prepared import Prepared
from audit_app.base.text_safety import shorten

LONGEST_EXPECTED = 100
"""Characters of the text to type that a refusal quotes."""


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
    if approval.type_out and not _is_typed(approval, typed.strip()):
        expected = shorten(text_to_type(approval), LONGEST_EXPECTED)
        raise NotTyped(field="typed", path=approval.type_out, expected=expected)


def text_to_type(approval: Approval) -> str:
    """The text that a yes to ``approval`` must type; empty if there is none."""
    if not approval.type_out:
        return ""
    value, _ = _find_member(approval)
    # A payload without the member does not lift the requirement: the task's type is typed instead.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return approval.task.task_type
    return str(value).strip() or approval.task.task_type


def _is_typed(approval: Approval, typed: str) -> bool:
    """Whether ``typed`` is the text to type, or the same amount, in the payload's currency or
    without one."""
    if typed == text_to_type(approval):
        return True
    value, members = _find_member(approval)
    return is_same_amount(value, typed, members.get("currency"))


def _find_member(approval: Approval) -> tuple[Any, dict[str, Any]]:
    """The member that ``type_out`` names, or None, and the object that it is in."""
    value: Any = {name: getattr(approval.task, name) for name in ("data", "context")}
    members: dict[str, Any] = {}
    for member in approval.type_out.split("."):
        members = value if isinstance(value, dict) else {}
        value = members.get(member)
    return value, members
