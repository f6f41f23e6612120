"""Sends the notices that recipients.py recorded: all that is due at a destination in one message.

A message is composed when it is sent, from the present state. Its links lead to pages that change
nothing by being opened: mail scanners follow links. Workers lease rows for LEASE while they send
them; the rows of a worker that died are sent again, so delivery is at least once.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Now
from procrastinate.contrib.django import app
from procrastinate.types import JSONDict

from approvals_app.decisions.voters import find_undecidable
from approvals_app.models import Approval, Passkey
from approvals_app.notifications import channels, messages, schedule
from approvals_app.notifications.channels.base import NotSent, Rejected
from approvals_app.notifications.messages import Digest, Message
from approvals_app.notifications.models import Notice, NoticeKind, NoticeSettings
from approvals_app.payload.summary import Summary, summarize_text
from audit_app.base.actors import Actor
from audit_app.base.events import EventType
from audit_app.models import Event
from audit_app.trail.operation import clock
from sessions_app.models import Task

QUEUE = "notices"
LEASE = timedelta(minutes=5)
"""Longer than sending takes; after it, another worker may send the row."""
PAUSES = [timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 360, 720)]
"""The pause after each failure; the failure after the last, nearly a day later, is final."""
RETENTION = timedelta(days=30)
BATCH_SIZE = 200
PURGE_BATCH_SIZE = 5_000
UNUSED = ("context", "payload", "result", "error")
"""Large columns of a task; a message needs only the payload, and one at a time."""

# The lease is due_at itself: a row that is being sent is not due.
CLAIM = """
UPDATE notices SET due_at = now() + %s::interval WHERE id IN (
    SELECT id FROM notices
    WHERE place = %s AND due_at <= now()
        AND sent_at IS NULL AND dropped_at IS NULL AND given_up_at IS NULL
    ORDER BY due_at, id LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING id
"""


def defer_delivery(destinations: Iterable[str]) -> None:
    """Queue a job for each of ``destinations``; it runs once the present transaction commits."""
    jobs: list[JSONDict] = [{"place": destination} for destination in sorted(destinations)]
    if jobs:
        deliver.batch_defer(*jobs)


# The queue keeps the name of the parameter, across upgrades, too.
@app.task(queue=QUEUE, name="notices.deliver")
def deliver(place: str) -> None:
    """Send all notices that are due at one destination, in one message."""
    rows = _claim_rows(place)
    if rows:
        composed = _compose_messages(rows)
        relevant = [row for row in rows if row.pk in composed]
        _update_rows(set(rows) - set(relevant), dropped_at=Now())
        if relevant:
            _send(place, relevant, Digest([composed[row.pk] for row in relevant]))


# queueing_lock: sweeps do not pile up while no worker runs.
@app.periodic(cron="* * * * *")
@app.task(queue=QUEUE, name="notices.sweep", queueing_lock="notices.sweep")
def sweep(timestamp: int) -> None:
    """Queue what is due by now (digests, quiet hours, retries); remove what is past retention."""
    due = Notice.objects.due().order_by().values_list("place", flat=True).distinct()
    destinations = list(due[:10_000])  # the next sweep takes the others
    if destinations:
        defer_delivery(destinations)
    old = (
        Notice.objects.filter_finished()
        .filter(created_at__lt=clock() - RETENTION)
        .order_by("created_at")
    )
    Notice.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:PURGE_BATCH_SIZE])).delete()


def _claim_rows(destination: str) -> list[Notice]:
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, [f"{LEASE.total_seconds()} seconds", destination, BATCH_SIZE])
        ids = [pk for (pk,) in cursor.fetchall()]
    return list(Notice.objects.filter(pk__in=ids).select_related("person").order_by("id"))


def _compose_messages(rows: list[Notice]) -> dict[int, Message]:
    """The message of each of ``rows``, which have one destination, by the row's id.

    Leaves out what does not concern the person any more: decided, out of their group, deactivated.
    """
    person = rows[0].person
    if person is not None and not person.is_active:
        return {}
    subjects = {row.subject_id for row in rows}
    approvals = _find_approvals(person, subjects)
    tasks = _find_tasks(person, subjects) if person else {}
    told_of = {row.subject_id for row in rows if row.kind == NoticeKind.UNDECIDABLE}
    undecidable = find_undecidable(told_of) if person and person.is_superuser else {}
    zone = ZoneInfo(NoticeSettings.load(person).time_zone)
    composed = {}
    for row in rows:
        message: Message | None = None
        if row.kind in messages.SUBJECTS and row.subject_id in approvals:
            kind = NoticeKind(row.kind)
            approval = approvals[row.subject_id]
            summary = _summarize_payload(approval.task_id)
            message = messages.compose_decision(kind, approval, summary, zone)
        elif row.kind == NoticeKind.DECISION and row.subject_id in tasks:
            summary = _summarize_payload(row.subject_id)
            message = messages.compose_outcome(tasks[row.subject_id], summary)
        elif row.kind == NoticeKind.UNDECIDABLE and row.subject_id in undecidable:
            message = messages.compose_undecidable(undecidable[row.subject_id])
        elif row.kind == NoticeKind.WEBHOOK and person and person.is_superuser:
            message = messages.compose_stopped_webhook(row.subject_id)
        elif row.kind == NoticeKind.PASSKEY and person:
            message = _compose_passkey(row, person)
        elif row.kind == NoticeKind.TEST:
            message = messages.compose_test()
        if message is not None:
            composed[row.pk] = message
    return composed


def _compose_passkey(row: Notice, person: User) -> Message | None:
    """A passkey of ``person``, or of anybody if they are an administrator."""
    passkey = Passkey.objects.select_related("user").get(pk=row.subject_id)
    is_own = passkey.user_id == person.pk
    if not (is_own or person.is_superuser):
        return None
    is_new = Event.objects.filter(pk=row.event_id, event_type=EventType.PASSKEY_REGISTERED).exists()
    return messages.compose_passkey(passkey, is_new=is_new, is_own=is_own)


def _summarize_payload(task_id: UUID) -> Summary | None:
    """The summary of a task's payload; None where messages contain nothing that agents wrote."""
    # One payload at a time: each may have a megabyte, and a digest two hundred of them.
    if not settings.NOTICE_DETAILS:
        return None
    return summarize_text(Task.objects.values_list("payload", flat=True).get(pk=task_id))


def _find_approvals(person: User | None, ids: set[UUID]) -> dict[UUID, Approval]:
    """Those of ``ids`` on which ``person`` can still vote, one for each task; without a person, on
    which anybody can."""
    if person is not None:
        approvals = Approval.objects.waiting_for(Actor.human(person))
    else:
        approvals = Approval.objects.open_to_votes()
    rows = approvals.filter(pk__in=ids).select_related("task__agent", "override__opened_by")
    rows = rows.defer(*(f"task__{column}" for column in UNUSED))
    return {approval.pk: approval for approval in rows}


def _find_tasks(person: User, ids: set[UUID]) -> dict[UUID, Task]:
    """Those of ``ids`` that an agent of ``person`` routed, or any agent on their behalf."""
    on_behalf = Q(on_behalf_of__iexact=person.username)
    if person.email:
        on_behalf |= Q(on_behalf_of__iexact=person.email)
    tasks = Task.objects.filter(Q(agent__owner=person) | on_behalf, pk__in=ids)
    return {task.pk: task for task in tasks.select_related("agent").defer(*UNUSED)}


def _send(destination: str, rows: list[Notice], digest: Digest) -> None:
    channel = channels.find_channel(destination)
    try:
        if not (channel and channel.send(destination, rows[0].person, digest)):
            _update_rows(rows, dropped_at=Now())
            return
    except Rejected as error:
        _update_rows(rows, failures=F("failures") + 1, failure=str(error), given_up_at=Now())
        return
    except NotSent as error:
        _schedule_retry(rows, str(error))
        return
    _update_rows(rows, sent_at=Now(), failure="")


def _update_rows(rows: Iterable[Notice], **columns: Any) -> None:
    ids = [row.pk for row in rows]
    if ids:
        Notice.objects.filter(pk__in=ids).update(**columns)


def _schedule_retry(rows: list[Notice], failure: str) -> None:
    """Have ``rows`` sent again after the next of PAUSES, or give them up after the last."""
    now, preferences = clock(), NoticeSettings.load(rows[0].person)
    # The rows of one message may have failed a different number of times before.
    for failures in sorted({row.failures for row in rows}):
        alike = [row for row in rows if row.failures == failures]
        columns: dict[str, Any] = {"failures": F("failures") + 1, "failure": failure}
        if failures < len(PAUSES):
            columns["due_at"] = schedule.after_quiet_hours(preferences, now + PAUSES[failures])
        else:
            columns["given_up_at"] = Now()
        _update_rows(alike, **columns)
