"""Who is told of what happened: one relay of the trail, with a row for each event and place.

It writes nothing else, and in the transaction of the relay's own cursor; that an event is told at a
place is unique, so that one which is read twice is told once. What is due at once is a job beside
it; everything else (quiet hours, digests, what failed) is found by the clock, in notifying.py.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Q

from approvals_app.models import Approval
from approvals_app.notifications import channels, delivery, schedule
from approvals_app.notifications.models import Notice, NoticeChannel, NoticeKind, NoticeSettings
from audit_app.base.events import EventType
from audit_app.live.consumers import relay
from audit_app.models import Event
from audit_app.trail.operation import clock
from sessions_app.models import Task

REQUESTS = {EventType.APPROVAL_REQUESTED.value, EventType.APPROVAL_REMINDED.value}
OUTCOMES = {
    EventType.TASK_APPROVED.value,
    EventType.TASK_REJECTED.value,
    EventType.TASK_EXPIRED.value,
}
WEBHOOKS = {EventType.WEBHOOK_PAUSED.value, EventType.WEBHOOK_DISABLED.value}
VOTERS = """
SELECT asked.id, voter FROM unnest(%s::uuid[]) AS asked (id)
CROSS JOIN LATERAL approval_voters(asked.id) AS voter
"""
BATCH = 1_000

channels.must_be_known(settings.NOTICE_CHANNELS)


@dataclass(frozen=True, slots=True)
class Recipients:
    """One event, and who is to know of it."""

    event: Event
    kind: NoticeKind
    subject_id: UUID
    people: frozenset[int]
    role: str = ""
    deadline: datetime | None = None


@relay("notices")
def record_notices(events: list[Event]) -> None:
    """Note who is told of ``events``, where and when; read again, they change nothing."""
    told = [*_find_requests(events), *_find_outcomes(events), *_find_stopped_webhooks(events)]
    if told:
        now = clock()
        rows = [*_build_personal_notices(told, now), *_build_shared_notices(told, now)]
        Notice.objects.bulk_create(rows, batch_size=BATCH, ignore_conflicts=True)
        delivery.defer_delivery({row.place for row in rows if row.due_at <= now})


def send_test(person: User, place: str) -> None:
    """Send something to one place of ``person``, so that they see whether it arrives."""
    row = {"event_id": uuid4(), "subject_id": uuid4(), "kind": NoticeKind.TEST}
    Notice.objects.create(place=place, person=person, due_at=clock(), **row)
    delivery.defer_delivery({place})


def _find_requests(events: list[Event]) -> Iterator[Recipients]:
    """New work, escalations, reviews of overrides, and reminders: for whoever may vote. Whether
    they still may is looked at when it is sent."""
    asking = [event for event in events if event.event_type in REQUESTS]
    if not asking:
        return
    found = Approval.objects.filter(pk__in=[event.subject_id for event in asking])
    approvals = {row.pk: row for row in found.pending().prefetch_related("escalated_from")}
    voters = _load_voters(approvals)
    for event in asking:
        approval = approvals.get(event.subject_id)
        if approval is not None:
            yield Recipients(
                event,
                _classify(event, approval),
                approval.pk,
                frozenset(voters[approval.pk]),
                approval.approver_role,
                approval.expires_at,
            )


def _classify(event: Event, approval: Approval) -> NoticeKind:
    if event.event_type == EventType.APPROVAL_REMINDED:
        return NoticeKind.REMINDER
    if approval.override_id is not None:
        return NoticeKind.BREAK_GLASS
    return NoticeKind.ESCALATION if approval.escalated_from.all() else NoticeKind.WORK


def _load_voters(approvals: Iterable[UUID]) -> dict[UUID, set[int]]:
    """Everybody who may vote on each of ``approvals`` now, by its id."""
    voters: dict[UUID, set[int]] = defaultdict(set)
    with connection.cursor() as cursor:
        cursor.execute(VOTERS, [list(approvals)])
        for approval, voter in cursor.fetchall():
            voters[approval].add(voter)
    return voters


def _find_outcomes(events: list[Event]) -> Iterator[Recipients]:
    """What became of a task: for the agent's owner, and for the person in whose name it asked."""
    waited = Task.Status.AWAITING_APPROVAL
    over = [e for e in events if e.event_type in OUTCOMES and e.from_state == waited]
    if not over:
        return
    rows = Task.objects.filter(pk__in=[event.subject_id for event in over])
    tasks = {task.pk: task for task in rows.select_related("agent")}
    named = find_people(task.on_behalf_of for task in tasks.values())
    for event in over:
        task = tasks.get(event.subject_id)
        if task is None:
            continue
        people = set(named[task.on_behalf_of.lower()])
        if task.agent.owner_id is not None:
            people.add(task.agent.owner_id)
        yield Recipients(event, NoticeKind.DECISION, task.pk, frozenset(people))


def find_people(names: Iterable[str]) -> dict[str, set[int]]:
    """The active people whom ``names`` mean, by username or e-mail, under the name in small
    letters."""
    wanted = {name for name in names if name}
    found: dict[str, set[int]] = defaultdict(set)
    if not wanted:
        return found
    same = Q()
    for name in wanted:
        same |= Q(username__iexact=name) | Q(email__iexact=name)
    people = User.objects.filter(same, is_active=True).values_list("pk", "username", "email")
    for pk, *both in people:
        for name in both:
            found[name.lower()].add(pk)
    return found


def _find_stopped_webhooks(events: list[Event]) -> Iterator[Recipients]:
    stopped = [event for event in events if event.event_type in WEBHOOKS]
    if stopped:
        administrators = User.objects.filter(is_active=True, is_superuser=True)
        people = frozenset(administrators.values_list("pk", flat=True))
        for event in stopped:
            yield Recipients(event, NoticeKind.WEBHOOK, event.subject_id, people)


def _build_personal_notices(told: list[Recipients], now: datetime) -> Iterator[Notice]:
    everybody = set[int]().union(*(each.people for each in told))
    people = User.objects.in_bulk(everybody)
    wishes = NoticeSettings.objects.in_bulk(everybody)
    further = defaultdict(list)
    for channel, person in NoticeChannel.objects.filter(person__in=everybody).values_list(
        "pk", "person"
    ):
        further[person].append(f"channel:{channel}")
    for each in told:
        for pk in sorted(each.people & people.keys()):
            wish = wishes.get(pk) or NoticeSettings(person=people[pk])
            if each.kind in wish.without or not people[pk].is_active:
                continue
            due = schedule.send_at(wish, now, each.deadline)
            by_email = wish.by_email and people[pk].email and settings.EMAIL_CONFIGURED
            places = [f"email:{pk}"] if by_email else []
            for place in [*places, *further[pk]]:
                yield _build_notice(each, place, due, person_id=pk)


def _build_shared_notices(told: list[Recipients], now: datetime) -> Iterator[Notice]:
    for each in told:
        for url in settings.NOTICE_CHANNELS.get(each.role, ()) if each.role else ():
            yield _build_notice(each, delivery.shared_destination(each.role, url), now)


def _build_notice(told: Recipients, place: str, due: datetime, **person: Any) -> Notice:
    return Notice(
        event_id=told.event.pk,
        place=place,
        kind=told.kind,
        subject_id=told.subject_id,
        deadline_at=told.deadline,
        due_at=due,
        **person,
    )
