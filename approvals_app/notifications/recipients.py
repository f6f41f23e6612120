"""Who is notified of an event: a consumer of the trail that records a notice for each destination.

The notices are written in the transaction that advances the consumer, and are unique by event and
destination, so that an event that is read twice is sent once. Notices that are due now get a job;
delivery.sweep finds the others (quiet hours, digests, retries).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Q

from approvals_app.decisions.voters import find_undecidable
from approvals_app.models import Approval, Passkey
from approvals_app.notifications import channels, delivery, schedule
from approvals_app.notifications.models import Notice, NoticeKind, NoticeSettings
from audit_app.base.actors import Actor
from audit_app.base.events import EventType
from audit_app.live.consumers import consumer
from audit_app.models import Event
from audit_app.trail.operation import clock
from sessions_app.models import Task

REQUESTS = {EventType.APPROVAL_REQUESTED.value, EventType.APPROVAL_REMINDED.value}
OUTCOMES = {
    EventType.TASK_APPROVED.value,
    EventType.TASK_REJECTED.value,
    EventType.TASK_EXPIRED.value,
    EventType.TASK_RECALLED.value,
}
PASSKEYS = {EventType.PASSKEY_REGISTERED.value, EventType.PASSKEY_REVOKED.value}
WEBHOOKS = {EventType.WEBHOOK_PAUSED.value, EventType.WEBHOOK_DISABLED.value}
VOTERS = """
SELECT asked.id, voter FROM unnest(%s::uuid[]) AS asked (id)
CROSS JOIN LATERAL approval_voters(asked.id) AS voter
"""
BATCH = 1_000

# At import, so that a wrong setting of a channel stops the start and not a delivery.
channels.load_channels()


@dataclass(frozen=True, slots=True)
class Recipients:
    """One event, and the people or the role to notify of it."""

    event: Event
    kind: NoticeKind
    subject_id: UUID
    people: frozenset[int]
    role: str = ""
    deadline: datetime | None = None


@consumer("notices")
def record_notices(events: list[Event]) -> None:
    """Record who is notified of ``events``, where and when. Repeating it changes nothing."""
    recipients = [
        *_find_requests(events),
        *_find_outcomes(events),
        *_find_stopped_webhooks(events),
        *_find_passkeys(events),
    ]
    if recipients:
        now = clock()
        rows = [*_build_personal_notices(recipients, now), *_build_shared_notices(recipients, now)]
        # ignore_conflicts: a consumer may read an event twice.
        Notice.objects.bulk_create(rows, batch_size=BATCH, ignore_conflicts=True)
        delivery.defer_delivery({row.place for row in rows if row.due_at <= now})


def is_reached(person: User, preferences: NoticeSettings) -> bool:
    """Whether a notification has any way to ``person``: their own, or one that a role shares."""
    if any(
        channel.personal_destinations({person: preferences}).get(person.pk)
        for channel in channels.load_channels().values()
    ):
        return True
    return any(
        next(iter(channel.role_destinations(role)), None)
        for role in Actor.human(person).roles
        for channel in channels.load_channels().values()
    )


def send_test(person: User, destination: str) -> None:
    """Send a test message to one destination of ``person``."""
    row = {"event_id": uuid4(), "subject_id": uuid4(), "kind": NoticeKind.TEST}
    Notice.objects.create(place=destination, person=person, due_at=clock(), **row)
    delivery.defer_delivery({destination})


def _find_requests(events: list[Event]) -> Iterator[Recipients]:
    """New work, escalations, reviews of overrides, and reminders: for those who may vote; and for
    the administrators, where they are too few."""
    # delivery.py checks again, when it sends, whether they still may.
    requests = [event for event in events if event.event_type in REQUESTS]
    if not requests:
        return
    pending = Approval.objects.pending().filter(pk__in=[event.subject_id for event in requests])
    approvals = {row.pk: row for row in pending.prefetch_related("escalated_from")}
    voters = _load_voters(approvals)
    few = [pk for pk, row in approvals.items() if len(voters[pk]) < row.needed]
    undecidable = find_undecidable(few)
    administrators = _list_administrators() if undecidable else frozenset()
    for event in requests:
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
            if approval.pk in undecidable:
                kind, due = NoticeKind.UNDECIDABLE, approval.expires_at
                yield Recipients(event, kind, approval.pk, administrators, deadline=due)


def _classify(event: Event, approval: Approval) -> NoticeKind:
    if event.event_type == EventType.APPROVAL_REMINDED:
        return NoticeKind.REMINDER
    if approval.override_id is not None:
        return NoticeKind.BREAK_GLASS
    return NoticeKind.ESCALATION if approval.escalated_from.all() else NoticeKind.WORK


def _load_voters(approvals: Iterable[UUID]) -> dict[UUID, set[int]]:
    """The ids of the users who may vote on each of ``approvals`` now, by its id."""
    voters: dict[UUID, set[int]] = defaultdict(set)
    with connection.cursor() as cursor:
        cursor.execute(VOTERS, [list(approvals)])
        for approval, voter in cursor.fetchall():
            voters[approval].add(voter)
    return voters


def _find_outcomes(events: list[Event]) -> Iterator[Recipients]:
    """Outcomes of tasks that waited for approval: for the agent's owner, and the person on whose
    behalf it asked."""
    # What policies approved or refused at once, or what nobody used in time, is no news to anybody.
    decided = [
        event
        for event in events
        if event.event_type in OUTCOMES
        and (
            event.from_state == Task.Status.AWAITING_APPROVAL
            or event.event_type == EventType.TASK_RECALLED
        )
    ]
    if not decided:
        return
    rows = Task.objects.filter(pk__in=[event.subject_id for event in decided])
    tasks = {task.pk: task for task in rows.select_related("agent")}
    people_by_name = find_people(task.on_behalf_of for task in tasks.values())
    for event in decided:
        task = tasks.get(event.subject_id)
        if task is None:
            continue
        people = set(people_by_name[task.on_behalf_of.lower()])
        if task.agent.owner_id is not None:
            people.add(task.agent.owner_id)
        yield Recipients(event, NoticeKind.DECISION, task.pk, frozenset(people))


def find_people(names: Iterable[str]) -> dict[str, set[int]]:
    """The ids of the active users with these usernames or e-mail addresses, by lowercase name."""
    distinct = {name for name in names if name}
    found: dict[str, set[int]] = defaultdict(set)
    if not distinct:
        return found
    matching = Q()
    for name in distinct:
        matching |= Q(username__iexact=name) | Q(email__iexact=name)
    people = User.objects.filter(matching, is_active=True).values_list("pk", "username", "email")
    for pk, *both in people:
        for name in both:
            found[name.lower()].add(pk)
    return found


def _find_stopped_webhooks(events: list[Event]) -> Iterator[Recipients]:
    stopped = [event for event in events if event.event_type in WEBHOOKS]
    if stopped:
        people = _list_administrators()
        for event in stopped:
            yield Recipients(event, NoticeKind.WEBHOOK, event.subject_id, people)


def _find_passkeys(events: list[Event]) -> Iterator[Recipients]:
    """New and removed passkeys: for their owner, who may not have done it, and administrators."""
    changed = [event for event in events if event.event_type in PASSKEYS]
    if changed:
        owners = dict(
            Passkey.objects.filter(pk__in=[event.subject_id for event in changed]).values_list(
                "pk", "user_id"
            )
        )
        administrators = _list_administrators()
        for event in changed:
            people = administrators | {owners[event.subject_id]}
            yield Recipients(event, NoticeKind.PASSKEY, event.subject_id, people)


def _list_administrators() -> frozenset[int]:
    people = User.objects.filter(is_active=True, is_superuser=True)
    return frozenset(people.values_list("pk", flat=True))


def _build_personal_notices(recipients: list[Recipients], now: datetime) -> Iterator[Notice]:
    everybody = set[int]().union(*(each.people for each in recipients))
    people = User.objects.in_bulk(everybody)
    stored = NoticeSettings.objects.in_bulk(everybody)
    preferences = {
        person: stored.get(pk) or NoticeSettings(person=person) for pk, person in people.items()
    }
    reached_by = [
        channel.personal_destinations(preferences) for channel in channels.load_channels().values()
    ]
    for each in recipients:
        for pk in sorted(each.people & people.keys()):
            wanted = preferences[people[pk]]
            unwanted = each.kind in wanted.without and each.kind in NoticeKind.list_selectable()
            if unwanted or not people[pk].is_active:
                continue
            due = schedule.send_at(wanted, now, each.deadline)
            for destinations in reached_by:
                for destination in destinations.get(pk, ()):
                    yield _build_notice(each, destination, due, person_id=pk)


def _build_shared_notices(recipients: list[Recipients], now: datetime) -> Iterator[Notice]:
    for each in recipients:
        for channel in channels.load_channels().values() if each.role else ():
            for destination in channel.role_destinations(each.role):
                yield _build_notice(each, destination, now)


def _build_notice(recipients: Recipients, destination: str, due: datetime, **person: Any) -> Notice:
    return Notice(
        event_id=recipients.event.pk,
        place=destination,
        kind=recipients.kind,
        subject_id=recipients.subject_id,
        deadline_at=recipients.deadline,
        due_at=due,
        **person,
    )
