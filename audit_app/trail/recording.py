"""Writing the trail: ``create``, ``perform`` and ``record_event``.

``create`` and ``perform`` are the only code that saves an audited row. Each saves the row and its
event in one statement, and a trigger checks at commit that neither is missing.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.db import DatabaseError, connection
from django_fsm import TransitionNotAllowed

from audit_app.base import tracing
from audit_app.base.actors import Actor
from audit_app.base.canonical import canonical_metadata
from audit_app.base.errors import (
    RAISED_BY_TRIGGERS,
    InvalidTransition,
    OrchestratorError,
    UnknownEvent,
)
from audit_app.base.events import AGENT_EVENT, EventType
from audit_app.base.prepared import prepared_cursor
from audit_app.models import Subject

S = TypeVar("S", bound=Subject)
Write = tuple[str, list[Any], list[Any]]
"""A statement, the fields whose values it is given after the event's, and those it returns."""

INSERT_EVENT = """
INSERT INTO audit_events (entry) VALUES (audit_entry(
    event_type => %s, actor => %s, actor_id => %s, subject_type => %s, subject_id => %s, seq => %s,
    from_state => %s, to_state => %s, role => %s, trace_id => %s, metadata => %s))
RETURNING timestamp
"""
KNOWN = frozenset(EventType.values)
TIMES = ("created_at", "updated_at")
WITH_EVENT = f"WITH told AS ({INSERT_EVENT})"
TOLD = "(SELECT timestamp FROM told)"
"""When the event of this very statement was recorded."""


def create(
    subject: S, event: EventType, *, by: Actor, details: Mapping[str, Any] | None = None
) -> S:
    """Insert ``subject`` with its first event, whose metadata are ``details`` and what a first
    event must state."""
    subject.version = 1
    told = state_columns(subject, subject.must_state, details or {})
    _save(subject, _insertion(type(subject)), event, by, (None, subject.status), told)
    subject._state.adding = False
    subject._state.db = "default"
    return subject


def perform(
    change: Callable[..., Any], *, by: Actor, details: Mapping[str, Any] | None = None, **given: Any
) -> None:
    """Make one change of a locked row, save the columns that it changed, and record it.

    ``change`` is a method of a Subject, bound to the row and marked ``@recorded_as``: a django-fsm
    transition, or a plain method where the state stays. ``given`` is passed on to it. The caller
    holds the row's lock. A method assigns new values and mutates none in place, or its change would
    not be seen here.

    Raises InvalidTransition where the present state does not allow it, and what a trigger refuses
    by an error of RAISED_BY_TRIGGERS.
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
    after = vars(subject)
    changed = tuple(
        field
        for field in _writable_fields(type(subject))
        # Not by ==, to which True is 1, and a column would keep the one for the other.
        if after.get(field.attname) is not before.get(field.attname)
    )
    event = change.recorded_as  # type: ignore[attr-defined]  # marked, see above
    states = (before["status"], subject.status) if changed_state else (None, None)
    columns = {field.column for field in changed}
    must_state = [n for n in subject.must_state if subject.stated_columns()[n] in columns]
    told = state_columns(subject, must_state, details or {})
    _save(subject, _update(type(subject), changed), event, by, states, told)


def state_columns(
    subject: Subject, names: Sequence[str], details: Mapping[str, Any]
) -> Mapping[str, Any]:
    """``details`` and the columns of ``subject`` that an event states under ``names``."""
    columns = subject.stated_columns()
    stated = {name: _to_json(getattr(subject, columns[name])) for name in names}
    return {**stated, **details}


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def record_event(
    event: EventType | str,
    kind: str,
    *,
    by: Actor,
    details: Mapping[str, Any],
    role: str | None = None,
    trace_id: UUID | None = None,
) -> UUID:
    """Record an event that changes no row, with a subject of its own of this ``kind``, so that no
    version changes and nobody waits for a lock. Returns the subject's id.

    Raises UnknownEvent for a name that is neither an EventType nor an agent's own, and
    MetadataTooLarge.
    """
    subject_id = uuid4()
    of = (kind, subject_id, 1)
    told = _values(event, by, of, (None, None), role, trace_id, details)
    with prepared_cursor() as cursor:
        cursor.execute(INSERT_EVENT, told)
    return subject_id


def record_refusal(
    operation: str, error: OrchestratorError, subject: Subject, *, by: Actor
) -> None:
    """Record that ``operation`` on ``subject`` was refused to ``by``."""
    record_event(
        EventType.OPERATION_REFUSED,
        "refusal",
        by=by,
        role=subject.audit_role,
        trace_id=subject.audit_trace or tracing.current.get(None),
        details=describe_refusal(operation, error, subject),
    )


def describe_refusal(operation: str, error: OrchestratorError, subject: Subject) -> dict[str, str]:
    """What the event of a refusal says."""
    return {
        "operation": operation,
        "code": error.code,
        "detail": str(error),
        "subject_type": subject.subject_type,
        "subject_id": str(subject.pk),
    }


def _values(
    event: EventType | str,
    by: Actor,
    of: tuple[str, UUID, int],
    states: tuple[str | None, str | None],
    role: str | None,
    trace_id: UUID | None,
    details: Mapping[str, Any],
) -> list[Any]:
    if event not in KNOWN and not AGENT_EVENT.fullmatch(event):
        raise UnknownEvent(field="event_type", event_type=event)
    return [str(event), str(by), by.id, *of, *states, role, trace_id, canonical_metadata(details)]


def _save(
    subject: Subject,
    write: Write,
    event: EventType,
    by: Actor,
    states: tuple[str | None, str | None],
    details: Mapping[str, Any],
) -> None:
    """Write ``subject`` and the event that brings it to its present version, in one statement."""
    of = (subject.subject_type, subject.pk, subject.version)
    told = _values(event, by, of, states, subject.audit_role, subject.audit_trace, details)
    statement, fields, returned = write
    values = [
        None
        if (value := getattr(subject, field.attname)) is None
        else field.get_db_prep_save(value, connection)
        for field in fields
    ]
    with _raise_as_ours(subject), prepared_cursor() as cursor:
        cursor.execute(statement, [*told, *values])
        for field, value in zip(returned, cursor.fetchone(), strict=True):
            setattr(subject, field.attname, value)


@contextmanager
def _raise_as_ours(subject: Subject) -> Iterator[None]:
    """Raise what a trigger refuses by the SQLSTATE of an error of ours as that error."""
    try:
        yield
    except DatabaseError as error:
        ours = RAISED_BY_TRIGGERS.get(getattr(error.__cause__, "sqlstate", None) or "")
        if ours is None:
            raise
        data = json.loads(error.__cause__.diag.message_detail)  # type: ignore[union-attr]  # psycopg's
        raise ours(subject, **data) from error


@cache
def _writable_fields(model: type[Subject]) -> list[Any]:
    """The columns that are ours to write, beside those of the moment."""
    fields: list[Any] = list(model._meta.concrete_fields)
    return [field for field in fields if not field.generated and field.name not in TIMES]


@cache
def _insertion(model: type[Subject]) -> Write:
    """What ``create`` writes."""
    given = _writable_fields(model)
    fields: list[Any] = list(model._meta.concrete_fields)
    returned = [field for field in fields if field not in given]
    times = [model._meta.get_field(name) for name in TIMES]
    marks = ["%s" for _ in given] + [TOLD for _ in times]
    change = (
        f"({_names([*given, *times])}) VALUES ({', '.join(marks)}) RETURNING {_names(returned)}"
    )
    return f"{WITH_EVENT} INSERT INTO {model._meta.db_table} {change}", given, returned


@cache
def _update(model: type[Subject], changed: tuple[Any, ...]) -> Write:
    """What ``perform`` writes."""
    sets = ", ".join([*(f"{_names([field])} = %s" for field in changed), f"updated_at = {TOLD}"])
    # Names of our own tables and columns.
    statement = f"{WITH_EVENT} UPDATE {model._meta.db_table} SET {sets} WHERE id = %s"  # noqa: S608
    updated_at = model._meta.get_field("updated_at")
    return f"{statement} RETURNING updated_at", [*changed, model._meta.pk], [updated_at]


def _names(fields: Sequence[Any]) -> str:
    return ", ".join(f'"{field.column}"' for field in fields)
