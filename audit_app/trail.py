"""Writing the trail: ``create``, ``perform`` and ``record``.

``create`` and ``perform`` are the only code that saves an audited row: a change and its event are
one act here, and the guard trigger checks at commit that they were.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.db import connection
from django_fsm import TransitionNotAllowed

from audit_app import tracing
from audit_app.actors import Actor
from audit_app.canonical import canonical
from audit_app.errors import InvalidTransition, MetadataTooLarge, OrchestratorError, UnknownEvent
from audit_app.events import AGENT_EVENT, EventType
from audit_app.models import Subject

S = TypeVar("S", bound=Subject)

MAX_METADATA = 65_536
"""Characters of an event's metadata: a trail is not a store of documents."""

INSERT_EVENT = """
INSERT INTO audit_events (entry) VALUES (audit_entry(
    event_type => %(event_type)s, actor => %(actor)s, actor_id => %(actor_id)s,
    subject_type => %(subject_type)s, subject_id => %(subject_id)s, seq => %(seq)s,
    from_state => %(from_state)s, to_state => %(to_state)s, role => %(role)s,
    trace_id => %(trace_id)s, metadata => %(metadata)s))
RETURNING timestamp
"""


def create(
    subject: S, event: EventType, *, by: Actor, details: Mapping[str, Any] | None = None
) -> S:
    """Insert ``subject`` with its first event, of which ``details`` are the metadata."""
    subject.version = 1
    subject.created_at = subject.updated_at = record(
        event, subject, by=by, to_state=subject.status, details=details or {}
    )
    subject.save(force_insert=True)
    return subject


def perform(
    change: Callable[..., Any], *, by: Actor, details: Mapping[str, Any] | None = None, **given: Any
) -> None:
    """Make one change of a locked row, save the columns that it changed, and record it.

    ``change`` is a method of a Subject, bound to the row and marked ``@recorded_as``: a django-fsm
    transition, or a plain method where the state stays. ``given`` is passed on to it. The caller
    holds the row's lock. A method assigns new values and mutates none in place, or its change would
    not be seen here.

    Raises InvalidTransition where the present state does not allow it.
    """
    subject: Subject = change.__self__  # type: ignore[attr-defined]  # a bound method, see above
    before = dict(vars(subject))
    try:
        change(**given)
    except TransitionNotAllowed:
        raise InvalidTransition(
            subject,
            what=subject.subject_type,
            state=before["status"],
            transition=change.__name__,
            allowed=subject.transitions_allowed(),
        ) from None
    changed_state = subject.status != before["status"]
    subject.version += 1
    subject.updated_at = record(
        change.recorded_as,  # type: ignore[attr-defined]  # marked, see above
        subject,
        by=by,
        from_state=before["status"] if changed_state else None,
        to_state=subject.status if changed_state else None,
        details=details or {},
    )
    after = vars(subject)
    subject.save(
        update_fields=[
            field.name
            for field in subject._meta.concrete_fields
            # Not by ==, to which True is 1, and a column would keep the one for the other.
            if after.get(field.attname) is not before.get(field.attname)
        ]
    )


def record(
    event: EventType | str,
    subject: Subject,
    *,
    by: Actor,
    from_state: str | None = None,
    to_state: str | None = None,
    details: Mapping[str, Any],
) -> datetime:
    """Write the event that brings ``subject`` to its present ``version``; return its timestamp.

    Raises UnknownEvent for a name that is neither an EventType nor an agent's own, and
    MetadataTooLarge.
    """
    return _insert(
        event,
        by,
        subject_type=subject.subject_type,
        subject_id=subject.pk,
        seq=subject.version,
        from_state=from_state,
        to_state=to_state,
        role=subject.audit_role,
        trace_id=subject.audit_trace,
        details=details,
    )


def record_apart(
    event: EventType | str,
    kind: str,
    *,
    by: Actor,
    details: Mapping[str, Any],
    role: str | None = None,
    trace_id: UUID | None = None,
) -> UUID:
    """Write an event that changes nothing: a ``kind`` of subject of its own, so that nobody's
    version moves and nobody waits. Returns the subject's id."""
    subject_id = uuid4()
    _insert(
        event,
        by,
        subject_type=kind,
        subject_id=subject_id,
        seq=1,
        from_state=None,
        to_state=None,
        role=role,
        trace_id=trace_id,
        details=details,
    )
    return subject_id


def record_refusal(
    operation: str, error: OrchestratorError, subject: Subject, *, by: Actor
) -> None:
    """Write that ``by`` asked for ``operation`` on ``subject`` and was refused."""
    record_apart(
        EventType.OPERATION_REFUSED,
        "refusal",
        by=by,
        role=subject.audit_role,
        trace_id=subject.audit_trace or tracing.current(),
        details={
            "operation": operation,
            "code": error.code,
            "detail": str(error),
            "subject_type": subject.subject_type,
            "subject_id": str(subject.pk),
        },
    )


def bounded(metadata: Any) -> str:
    """The canonical text of ``metadata``, an event's or a row's. Raises MetadataTooLarge."""
    text = canonical(metadata)
    if len(text) > MAX_METADATA:
        raise MetadataTooLarge(field="metadata", limit=MAX_METADATA)
    return text


def _insert(
    event: EventType | str, by: Actor, *, details: Mapping[str, Any], **members: Any
) -> datetime:
    if event not in EventType.values and not AGENT_EVENT.fullmatch(event):
        raise UnknownEvent(field="event_type", event_type=event)
    metadata = bounded(details)
    with connection.cursor() as cursor:
        cursor.execute(
            INSERT_EVENT,
            {
                "event_type": str(event),
                "actor": str(by),
                "actor_id": by.id,
                "metadata": metadata,
                **members,
            },
        )
        timestamp: datetime = cursor.fetchone()[0]
        return timestamp
