"""What a notification says: one sentence with a link for each event, and several as one digest."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.urls import reverse

from approvals_app.decisions.voters import Undecidable
from approvals_app.models import Approval
from approvals_app.notifications.models import NoticeKind
from approvals_app.payload.headline import summarize
from audit_app.base.text_safety import UNSEEN, shorten
from audit_app.trail.operation import clock
from sessions_app.models import Task

LONGEST_NAME = 60
LONGEST_SUMMARY = 60
"""In a subject, of which a lock screen shows little more."""
MAX_LISTED = 20
NOT_PLAIN = re.compile(
    # Within numbers, at the end of a word, and currencies.
    r"(?:(?!(?<=\d)[.,:](?=\d)|(?<=\w)[.,:;!?%](?=\s|$)|[€$£¥])[^\w\s+-])+"
)
"""What a mail program or a chat could take for a link, a mention or markup."""

SUBJECTS = {
    NoticeKind.WORK: "Approve: {task}, due {due}",
    NoticeKind.REMINDER: "Reminder: {task}, due {due}",
    NoticeKind.ESCALATION: "Escalated: {task}, due {due}",
    NoticeKind.BREAK_GLASS: "Review: {task}, due {due}",
}
SENTENCES = {
    NoticeKind.WORK: "{agent} needs a decision from {role} by {until}: {task}",
    NoticeKind.REMINDER: "Reminder: {agent} needs a decision from {role} by {until}: {task}",
    NoticeKind.ESCALATION: "The deadline passed, {role} must now decide by {until}: {task}",
    NoticeKind.BREAK_GLASS: (
        "{person} approved alone (break glass), {role} must review it by {until}: {task}"
    ),
}
OUTCOMES = {
    Task.Status.REJECTED: "rejected",
    Task.Status.EXPIRED: "not decided in time",
    Task.Status.CANCELLED: "cancelled",
    Task.Status.AWAITING_APPROVAL: "recalled and waits for approval again",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One notice in words: a subject, a sentence, and the path of the page about it."""

    subject: str
    sentence: str
    path: str

    @property
    def link(self) -> str:
        return build_link(self.path)


@dataclass(frozen=True, slots=True)
class Digest:
    """All messages that go to one destination at a time, at least one."""

    messages: Sequence[Message]

    @property
    def subject(self) -> str:
        first, others = self.messages[0].subject, len(self.messages) - 1
        return f"{first} (and {others} more)" if others else first

    def render(self, max_bytes: int | None = None) -> str:
        """The messages as plain text; as many as fit, if only ``max_bytes`` may be sent.

        The last line says how many were left out. The first one is always there.
        """
        parts = [f"{each.sentence}\n{each.link}\n" for each in self.messages]
        listed = parts[:MAX_LISTED]
        text = _join(listed, len(parts))
        while max_bytes is not None and len(listed) > 1 and len(text.encode()) > max_bytes:
            listed.pop()
            text = _join(listed, len(parts))
        return text


def _join(listed: Sequence[str], total: int) -> str:
    left_out = total - len(listed)
    rest = [f"And {left_out} more.\n{build_link(reverse('admin:index'))}\n"] if left_out else []
    return "\n".join([*listed, *rest])


def build_link(path: str) -> str:
    """The URL of the page at ``path``; only the path where PUBLIC_URL is not set."""
    return f"{settings.PUBLIC_URL.rstrip('/')}{path}"


def compose_decision(kind: NoticeKind, approval: Approval, zone: ZoneInfo) -> Message:
    """What is to be decided, by whom and until when, in the clock of ``zone``."""
    opened_by = approval.override.opened_by.get_username() if approval.override else ""
    names = {
        "role": approval.approver_role,
        "person": opened_by,
        "agent": approval.task.agent.name,
    }
    words = {name: sanitize(text) for name, text in names.items()} | {
        "until": f"{approval.expires_at.astimezone(zone):%Y-%m-%d %H:%M} {zone.key}",
        "due": _format_due(approval.expires_at, zone),
        "task": _summarize(approval.task),
    }
    page = reverse("admin:approvals_app_approval_change", args=[approval.pk])
    return Message(SUBJECTS[kind].format(**words), SENTENCES[kind].format(**words), page)


def compose_outcome(task: Task) -> Message:
    """What became of a task."""
    outcome = OUTCOMES.get(Task.Status(task.status), "approved")
    role, agent, what = sanitize(task.to_role), sanitize(task.agent.name), _summarize(task)
    sentence = f"What {agent} asked of {role} was {outcome}: {what}"
    subject = f"{outcome.capitalize()}: {what}"
    return Message(subject, sentence, f"{reverse('admin:index')}?tab=asked")


def compose_undecidable(undecidable: Undecidable) -> Message:
    """A request that nobody can decide, for administrators."""
    named = replace(undecidable, role=sanitize(undecidable.role))
    page = reverse("admin:approvals_app_approval_change", args=[undecidable.approval_id])
    sentence = f"A request can't be decided: {named.sentence}"
    return Message("A request can't be decided", sentence, page)


def compose_stopped_webhook(webhook_id: UUID) -> Message:
    """A webhook that was paused or disabled, for administrators."""
    sentence = "A webhook was paused or disabled; its receiver gets no events."
    page = reverse("admin:audit_app_webhook_change", args=[webhook_id])
    return Message("A webhook was paused or disabled", sentence, page)


def compose_test() -> Message:
    """The message by which a person tests a destination."""
    sentence = "This is a test: notifications will arrive here."
    return Message("A test of notifications", sentence, reverse("admin:index"))


def sanitize(text: str, length: int = LONGEST_NAME) -> str:
    """Text that others chose, as one short line that no program takes for a link or markup."""
    visible = UNSEEN.sub(lambda match: f" U+{ord(match[0]):04X} ", text)
    return shorten(NOT_PLAIN.sub("·", visible), length)


def _summarize(task: Task) -> str:
    if not settings.NOTICE_DETAILS:
        return sanitize(task.task_type)
    # Cut before and after: defusing a megabyte takes long, and may make the text longer.
    return sanitize(summarize(task, 2 * LONGEST_SUMMARY), LONGEST_SUMMARY).rstrip(" .,:;·")


def _format_due(at: datetime, zone: ZoneInfo) -> str:
    """As one says it: the hour today, with the weekday this week, else the date."""
    local, today = at.astimezone(zone), clock().astimezone(zone).date()
    if local.date() == today:
        return f"{local:%H:%M}"
    within_a_week = today < local.date() < today + timedelta(days=7)
    return f"{local:%a %H:%M}" if within_a_week else f"{local:%Y-%m-%d}"
