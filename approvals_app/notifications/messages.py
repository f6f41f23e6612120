"""What a notification says of each event, and several as one digest.

A message is a sentence with a link; of a request, its dangers and the agent's own words besides.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from approvals_app.decisions.voters import Undecidable
from approvals_app.models import Approval, Passkey
from approvals_app.notifications.models import NoticeKind
from approvals_app.payload.facts import Fact, Level
from approvals_app.payload.summary import Summary
from audit_app.base.text_safety import UNSEEN, shorten
from audit_app.base.times import format_moment
from audit_app.trail.operation import clock
from sessions_app.models import Task

LONGEST_NAME = 60
LONGEST_TITLE = 60
"""In a subject, of which a lock screen shows little more."""
LONGEST_HEADLINE = 90
LONGEST_FACT = 160
LONGEST_DESCRIPTION = 200
MAX_LISTED = 20
NOT_PLAIN = re.compile(
    # Within numbers, at the end of a word, and currencies.
    r"(?:(?!(?<=\d)[.,:](?=\d)|(?<=\w)[.,:;!?%](?=\s|$)|[€$£¥])[^\w\s+-])+"
)
"""What a mail program or a chat could take for a link, a mention or markup."""

SUBJECTS = {
    NoticeKind.WORK: "Approve{risk}: {task}, due {due}",
    NoticeKind.REMINDER: "Reminder{risk}: {task}, due {due}",
    NoticeKind.ESCALATION: "Escalated{risk}: {task}, due {due}",
    NoticeKind.BREAK_GLASS: "Review{risk}: {task}, due {due}",
}
SENTENCES = {
    NoticeKind.WORK: "{agent} needs a decision from {role} by {until}: {task}",
    NoticeKind.REMINDER: "Reminder: {agent} needs a decision from {role} by {until}: {task}",
    NoticeKind.ESCALATION: "The deadline passed, {role} must now decide by {until}: {task}",
    NoticeKind.BREAK_GLASS: (
        "{person} approved alone (break glass), {role} must review it by {until}: {task}"
    ),
}
TOLD_LEVELS = {Level.DANGER: "Danger", Level.NOTICE: "Note"}
OUTCOMES = {
    Task.Status.REJECTED: "rejected",
    Task.Status.EXPIRED: "not decided in time",
    Task.Status.CANCELLED: "cancelled",
    Task.Status.AWAITING_APPROVAL: "recalled and waits for approval again",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One notice in words: a subject, a sentence, and the path of the page about it.

    ``details`` are further lines, which are left out where there is no room.
    """

    subject: str
    sentence: str
    path: str
    details: tuple[str, ...] = ()

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

        Without room for all of it the details go first. The last line says how many messages were
        left out. The first one is always there.
        """
        parts = [_join_lines(each, each.details) for each in self.messages[:MAX_LISTED]]
        text = _join(parts, len(self.messages))
        if max_bytes is None or len(text.encode()) <= max_bytes:
            return text
        parts = [_join_lines(each) for each in self.messages[:MAX_LISTED]]
        text = _join(parts, len(self.messages))
        while len(parts) > 1 and len(text.encode()) > max_bytes:
            parts.pop()
            text = _join(parts, len(self.messages))
        return text


def _join_lines(message: Message, details: Sequence[str] = ()) -> str:
    return "\n".join([message.sentence, *details, message.link, ""])


def _join(listed: Sequence[str], total: int) -> str:
    left_out = total - len(listed)
    rest = [f"And {left_out} more.\n{build_link(reverse('admin:index'))}\n"] if left_out else []
    return "\n".join([*listed, *rest])


def build_link(path: str) -> str:
    """The URL of the page at ``path``; only the path where PUBLIC_URL is not set."""
    return f"{settings.PUBLIC_URL.rstrip('/')}{path}"


def compose_decision(
    kind: NoticeKind, approval: Approval, summary: Summary | None, zone: ZoneInfo
) -> Message:
    """What is to be decided, by whom and until when, in the clock of ``zone``.

    ``summary`` is that of the task's payload; None: what agents wrote is left out.
    """
    task = approval.task
    opened_by = approval.override.opened_by.get_username() if approval.override else ""
    names = {"role": approval.approver_role, "person": opened_by, "agent": task.agent.name}
    words = {name: sanitize(text) for name, text in names.items()} | {
        "until": _format_moment(approval.expires_at, zone),
        "due": _format_due(approval.expires_at, zone),
        "risk": " (high risk)" if approval.risk == Approval.Risk.HIGH else "",
    }
    title, headline = _name_task(task, summary, LONGEST_TITLE), _name_task(task, summary)
    return Message(
        SUBJECTS[kind].format(**words, task=_lower_verb(title)),
        SENTENCES[kind].format(**words, task=headline),
        reverse("admin:approvals_app_approval_change", args=[approval.pk]),
        tuple(_describe(task, summary, headline, zone)) if summary else (),
    )


def compose_outcome(task: Task, summary: Summary | None) -> Message:
    """What became of a task; ``summary`` as in ``compose_decision``."""
    outcome = OUTCOMES.get(Task.Status(task.status), "approved")
    role, agent = sanitize(task.to_role), sanitize(task.agent.name)
    sentence = f"What {agent} asked of {role} was {outcome}: {_name_task(task, summary)}"
    subject = f"{outcome.capitalize()}: {_lower_verb(_name_task(task, summary, LONGEST_TITLE))}"
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


def compose_passkey(passkey: Passkey, *, is_new: bool, is_own: bool) -> Message:
    """A passkey that was registered or removed, for its owner and for administrators."""
    owner, label = sanitize(passkey.user.get_username()), sanitize(passkey.label)
    what = f"passkey was {'registered' if is_new else 'removed'}"
    sentence = f'A {what} for {"you" if is_own else owner}: "{label}". '
    sentence += (
        "If that wasn't you, remove it and tell an administrator."
        if is_own and is_new
        else "If that is news to you, ask."
    )
    own_page = reverse("signin:passkeys")
    page = own_page if is_own else reverse("admin:auth_user_change", args=[passkey.user_id])
    return Message(f"A {what}: {owner}", sentence, page)


def compose_test() -> Message:
    """The message by which a person tests a destination."""
    sentence = "This is a test: notifications will arrive here."
    return Message("A test of notifications", sentence, reverse("admin:index"))


def sanitize(text: str, length: int = LONGEST_NAME) -> str:
    """Text that others chose, as one short line that no program takes for a link or markup."""
    visible = UNSEEN.sub(lambda match: f" U+{ord(match[0]):04X} ", text)
    return shorten(NOT_PLAIN.sub("·", visible), length)


def _name_task(task: Task, summary: Summary | None, length: int = LONGEST_HEADLINE) -> str:
    """The headline of the payload; without one the agent's words, in quotes; else the type."""
    if summary is None:
        return sanitize(task.task_type)
    if headline := summary.headline or summary.line:
        return _sanitize_long(headline, length)
    if task.description.strip():
        return f'"{_sanitize_long(task.description, length)}"'
    return sanitize(task.task_type.replace("_", " "))


def _describe(task: Task, summary: Summary, headline: str, zone: ZoneInfo) -> Iterator[str]:
    """What is dangerous or unusual in the payload, then what the agent says of it."""
    for fact in summary.facts:
        if fact.level in TOLD_LEVELS:
            yield f"{TOLD_LEVELS[fact.level]}: {_write_fact(fact, zone)}"
    if summary.left_out:
        yield f"And {summary.left_out} more on the page."
    if summary.strange_numbers:
        numbers = sanitize(", ".join(summary.strange_numbers), LONGEST_FACT)
        yield f"Note: not in the data, but in the agent's words: {numbers}"
    said = _sanitize_long(task.description, LONGEST_DESCRIPTION)
    if said and headline != f'"{said}"':
        yield f'{sanitize(task.agent.name)} says: "{said}"'


def _write_fact(fact: Fact, zone: ZoneInfo) -> str:
    if fact.moment:
        return f"{_sanitize_long(fact.label, LONGEST_NAME)}: {_format_moment(fact.moment, zone)}"
    return _sanitize_long(f"{fact.label}: {fact.value}", LONGEST_FACT)


def _format_moment(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M} {zone.key}"


def _sanitize_long(text: str, length: int) -> str:
    # Cut before and after: defusing a megabyte takes long, and may make the text longer.
    return sanitize(shorten(text, 2 * length), length).rstrip(" .,:;·")


def _lower_verb(title: str) -> str:
    """``Refund 249.90 EUR`` within a sentence; quotes, SQL and names stay as they are."""
    return title[0].lower() + title[1:] if title[1:2].islower() else title


def _format_due(at: datetime, zone: ZoneInfo) -> str:
    """As one says it: the hour today, with the weekday this week, else with the date."""
    with timezone.override(zone):
        return format_moment(at, clock()).removeprefix("today ")
