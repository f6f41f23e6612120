"""Sending what notices.py noted: one message a place at a time, in our own words, looked at again.

What an agent wrote is not in a message, but for the name of the task's type, and there is one link
a sentence, to a page that asks before it does anything: whoever reads mail for others follows
links. A row is taken for LEASE before it is sent, so that two workers don't send it both, and what
a worker began that died is sent by another: at least once.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse
from procrastinate.contrib.django import app
from procrastinate.types import JSONDict

from approvals_app.models import Approval
from approvals_app.notifications import channels, schedule
from approvals_app.notifications.models import Notice, NoticeChannel, NoticeKind, NoticeSettings
from audit_app.base import encryption
from audit_app.base.actors import Actor
from audit_app.base.text_safety import UNSEEN, shortened
from audit_app.trail.operation import clock
from sessions_app.models import Task

log = structlog.get_logger("orchestrator.notices")

QUEUE = "notices"
LEASE = timedelta(minutes=5)
"""Longer than any place takes; then the row is somebody else's to send."""
PAUSES = [timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 360, 720)]
"""After each failure; after the one behind the last, a day is nearly over, and that is the end."""
RETENTION = timedelta(days=30)
BATCH_SIZE = 200
MAX_LISTED = 20
PURGE_BATCH_SIZE = 5_000
LONGEST_NAME = 60
NOT_PLAIN = re.compile(r"[^\w\s+-]+")
"""What a mail program or a chat could take for a link, a mention or markup."""

CLAIM = """
UPDATE notices SET due_at = now() + %s::interval WHERE id IN (
    SELECT id FROM notices
    WHERE place = %s AND due_at <= now()
        AND sent_at IS NULL AND dropped_at IS NULL AND given_up_at IS NULL
    ORDER BY due_at, id LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING id
"""
SENTENCES = {
    NoticeKind.WORK: "A decision on {task} is needed from {role} by {until}.",
    NoticeKind.REMINDER: "Reminder: a decision on {task} is needed from {role} by {until}.",
    NoticeKind.ESCALATION: ("The deadline for {task} passed; {role} must now decide by {until}."),
    NoticeKind.BREAK_GLASS: (
        "{person} approved {task} alone (break glass); {role} must review it by {until}."
    ),
}
OUTCOMES = {
    Task.Status.REJECTED: "rejected",
    Task.Status.EXPIRED: "not decided in time",
    Task.Status.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell: a sentence, and where to look."""

    sentence: str
    path: str

    @property
    def link(self) -> str:
        return f"{settings.PUBLIC_URL.rstrip('/')}{self.path}"


class NotSent(Exception):
    """A place did not take a message; why, without anything secret."""


def defer_delivery(places: Iterable[str]) -> None:
    """Have what is due at ``places`` sent, once the present transaction commits."""
    wanted: list[JSONDict] = [{"place": place} for place in sorted(places)]
    if wanted:
        deliver.batch_defer(*wanted)


@app.task(queue=QUEUE, name="notices.deliver")
def deliver(place: str) -> None:
    """Send what is due at ``place``, all of it in one message."""
    rows = _claim_rows(place)
    if rows:
        lines = _compose_messages(rows)
        told = [row for row in rows if row.pk in lines]
        _update_rows(set(rows) - set(told), dropped_at=Now())
        if told:
            _send_messages(place, told, [lines[row.pk] for row in told])


@app.periodic(cron="* * * * *")
@app.task(queue=QUEUE, name="notices.sweep", queueing_lock="notices.sweep")
def sweep(timestamp: int) -> None:
    """What became due by the clock is sent, and what is long over is removed."""
    due = Notice.objects.due().order_by().values_list("place", flat=True).distinct()
    places = list(due[:10_000])
    if places:
        defer_delivery(places)
    old = (
        Notice.objects.finished().filter(created_at__lt=clock() - RETENTION).order_by("created_at")
    )
    Notice.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:PURGE_BATCH_SIZE])).delete()


def shared_destination(role: str, url: str) -> str:
    """How a channel that a role shares is called, without its secrets."""
    return f"shared:{sha256(url.encode()).hexdigest()[:16]}:{role}"


def sanitize_name(text: str) -> str:
    """A name that others gave, on one line and cut, with nothing hidden in it, and nothing that
    could be taken for a link, a mention or markup."""
    shown = UNSEEN.sub(lambda found: f" U+{ord(found[0]):04X} ", text)
    return shortened(NOT_PLAIN.sub("·", shown), LONGEST_NAME)


def _claim_rows(place: str) -> list[Notice]:
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, [f"{LEASE.total_seconds()} seconds", place, BATCH_SIZE])
        ids = [pk for (pk,) in cursor.fetchall()]
    return list(Notice.objects.filter(pk__in=ids).select_related("person").order_by("id"))


def _compose_messages(rows: list[Notice]) -> dict[int, Message]:
    """What is to be said of each of ``rows``, which are of one place, as things stand now. Left out
    are those of which there is nothing to be said to this person any more."""
    person = rows[0].person
    if person is not None and not person.is_active:
        return {}
    about = {row.subject_id for row in rows}
    approvals = _find_approvals(person, about)
    tasks = _find_tasks(person, about) if person else {}
    zone = _load_time_zone(person)
    lines = {}
    for row in rows:
        line: Message | None = None
        if row.kind in SENTENCES and row.subject_id in approvals:
            line = _compose_decision(NoticeKind(row.kind), approvals[row.subject_id], zone)
        elif row.kind == NoticeKind.DECISION and row.subject_id in tasks:
            line = _compose_outcome(tasks[row.subject_id])
        elif row.kind == NoticeKind.WEBHOOK and person and person.is_superuser:
            said = "A webhook was paused or disabled; its receiver gets no events."
            line = Message(said, reverse("admin:audit_app_webhook_change", args=[row.subject_id]))
        elif row.kind == NoticeKind.TEST:
            said = "This is a test: notifications will arrive here."
            line = Message(said, reverse("admin:index"))
        if line is not None:
            lines[row.pk] = line
    return lines


def _find_approvals(person: User | None, about: set[UUID]) -> dict[UUID, Approval]:
    """Those on which ``person``, or of a role that shares a place anybody, can still decide."""
    if person is not None:
        found = Approval.objects.waiting_for(Actor.human(person))
    else:
        found = Approval.objects.undecided()
    known = found.filter(pk__in=about).select_related("task", "override__opened_by")
    return {approval.pk: approval for approval in known}


def _find_tasks(person: User, about: set[UUID]) -> dict[UUID, Task]:
    """Those tasks that ``person`` asked for, or answers for."""
    names = Q(on_behalf_of__iexact=person.username)
    if person.email:
        names |= Q(on_behalf_of__iexact=person.email)
    found = Task.objects.filter(Q(agent__owner=person) | names, pk__in=about)
    return {task.pk: task for task in found.select_related("agent")}


def _compose_decision(kind: NoticeKind, approval: Approval, zone: ZoneInfo) -> Message:
    until = f"{approval.expires_at.astimezone(zone):%Y-%m-%d %H:%M} {zone.key}"
    alone = approval.override.opened_by.get_username() if approval.override else ""
    named = {"task": approval.task.task_type, "role": approval.approver_role, "person": alone}
    words = {name: sanitize_name(text) for name, text in named.items()}
    page = reverse("admin:approvals_app_approval_change", args=[approval.pk])
    return Message(SENTENCES[kind].format(**words, until=until), page)


def _compose_outcome(task: Task) -> Message:
    became = OUTCOMES.get(Task.Status(task.status), "approved")
    what, role, agent = (sanitize_name(t) for t in (task.task_type, task.to_role, task.agent.name))
    said = f"What {agent} asked of {role}, {what}, was {became}."
    return Message(said, f"{reverse('admin:index')}?tab=asked")


def _send_messages(place: str, rows: list[Notice], lines: list[Message]) -> None:
    subject, body = _join_messages(lines)
    try:
        if not _send(place, rows[0].person, subject, body):
            _update_rows(rows, dropped_at=Now())
            return
    except NotSent as error:
        _schedule_retry(rows, str(error))
        return
    _update_rows(rows, sent_at=Now(), failure="")


def _join_messages(lines: list[Message]) -> tuple[str, str]:
    if len(lines) == 1:
        return lines[0].sentence, f"{lines[0].sentence}\n\n{lines[0].link}\n"
    parts = [f"{line.sentence}\n{line.link}\n" for line in lines[:MAX_LISTED]]
    if len(lines) > MAX_LISTED:
        rest = Message(f"And {len(lines) - MAX_LISTED} more.", reverse("admin:index"))
        parts.append(f"{rest.sentence}\n{rest.link}\n")
    return f"{len(lines)} things to know", "\n".join(parts)


def _send(place: str, person: User | None, subject: str, body: str) -> bool:
    """Whether there is such a place still, and it took the message. Raises NotSent."""
    kind, _, name = place.partition(":")
    if kind == "email":
        return person is not None and _send_email(person, subject, body)
    if kind == "channel":
        channel = NoticeChannel.objects.filter(pk=name, person=person).first()
        return channel is not None and _sent_to_own(channel, subject, body)
    role = name.partition(":")[2]
    for url in settings.NOTICE_CHANNELS.get(role, ()):
        if shared_destination(role, url) == place:
            _reach(place, url, subject, body, own=False)
            return True
    return False


def _send_email(person: User, subject: str, body: str) -> bool:
    if not (person.email and settings.EMAIL_CONFIGURED and _load_preferences(person).by_email):
        return False
    headers = {"Auto-Submitted": "auto-generated"}
    message = EmailMessage(subject, body, to=[person.email], headers=headers)
    try:
        message.send()
    except (OSError, ValueError) as error:
        log.warning("notice", place="email", failure=type(error).__name__)
        raise NotSent("The mail server did not accept it.") from None
    return True


def _sent_to_own(channel: NoticeChannel, subject: str, body: str) -> bool:
    try:
        url = channels.opened(channel.sealed)
    except encryption.Unreadable:
        raise NotSent("SECRET_KEY changed, so the address can't be read. Add it again.") from None
    _reach(f"channel:{channel.pk}", url, subject, body, own=True)
    return True


def _reach(place: str, url: str, subject: str, body: str, *, own: bool) -> None:
    """Raises NotSent. Whatever a service's own code raises holds up no other place, and may quote
    the address: only its kind is logged."""
    try:
        taken = channels.send(url, title=subject, body=body, own=own)
    except channels.ChannelRefused:
        raise NotSent("The operator no longer allows this address.") from None
    except Exception as error:
        log.warning("notice", place=place, failure=type(error).__name__)
        raise NotSent("The service could not be reached.") from None
    if not taken:
        log.warning("notice", place=place, failure="refused")
        raise NotSent("The service could not be reached or did not accept it.")


def _update_rows(rows: Iterable[Notice], **columns: Any) -> None:
    ids = [row.pk for row in rows]
    if ids:
        Notice.objects.filter(pk__in=ids).update(**columns)


def _schedule_retry(rows: list[Notice], why: str) -> None:
    """Try again later, the longer it fails the later; after a day no more."""
    now, wish = clock(), _load_preferences(rows[0].person)
    for failures in sorted({row.failures for row in rows}):
        alike = [row for row in rows if row.failures == failures]
        columns: dict[str, Any] = {"failures": F("failures") + 1, "failure": why}
        if failures < len(PAUSES):
            columns["due_at"] = schedule.after_quiet_hours(wish, now + PAUSES[failures])
        else:
            columns["given_up_at"] = Now()
        _update_rows(alike, **columns)


def _load_preferences(person: User | None) -> NoticeSettings:
    known = NoticeSettings.objects.filter(person=person).first() if person else None
    return known or NoticeSettings()


def _load_time_zone(person: User | None) -> ZoneInfo:
    return ZoneInfo(_load_preferences(person).time_zone)
