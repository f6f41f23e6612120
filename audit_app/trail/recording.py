"""Writing the trail: ``create``, ``perform`` and ``record_apart``.

``create`` and ``perform`` are the only code that saves an audited row: a change and its event are
one act here, and the guard trigger checks at commit that they were.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.db import connection
from django_fsm import TransitionNotAllowed

from audit_app.base import tracing
from audit_app.base.actors import Actor
from audit_app.base.canonical import canonical
from audit_app.base.errors import (
    InvalidTransition,
    MetadataTooLarge,
    OrchestratorError,
    UnknownEvent,
)
from audit_app.base.events import AGENT_EVENT, EventType
from audit_app.base.prepared import planned_once
from audit_app.models import Subject

S = TypeVar("S", bound=Subject)

MAX_METADATA = 65_536
"""Characters of an event's metadata: a trail is not a store of documents."""

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
    """Insert ``subject`` with its first event, of which ``details`` are the metadata."""
    subject.version = 1
    told = _event(event, subject, by=by, to_state=subject.status, details=details or {})
    statement, fields, returned = _insertion(type(subject))
    _write(subject, statement, told, [_to_save(subject, f) for f in fields], returned)
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
    told = _event(
        change.recorded_as,  # type: ignore[attr-defined]  # marked, see above
        subject,
        by=by,
        from_state=before["status"] if changed_state else None,
        to_state=subject.status if changed_state else None,
        details=details or {},
    )
    after = vars(subject)
    changed = tuple(
        field
        for field in _written(type(subject))
        # Not by ==, to which True is 1, and a column would keep the one for the other.
        if after.get(field.attname) is not before.get(field.attname)
    )
    statement, returned = _update(type(subject), changed)
    _write(
        subject, statement, told, [*(_to_save(subject, f) for f in changed), subject.pk], returned
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
    version moves and nobody waits. Returns the subject's id.

    Raises UnknownEvent for a name that is neither an EventType nor an agent's own, and
    MetadataTooLarge.
    """
    subject_id = uuid4()
    of = (kind, subject_id, 1)
    told = _values(event, by, of, (None, None), role, trace_id, details)
    with planned_once() as cursor:
        cursor.execute(INSERT_EVENT, told)
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
        details=refused(operation, error, subject),
    )


def refused(operation: str, error: OrchestratorError, subject: Subject) -> dict[str, str]:
    """What the event of a refusal says."""
    return {
        "operation": operation,
        "code": error.code,
        "detail": str(error),
        "subject_type": subject.subject_type,
        "subject_id": str(subject.pk),
    }


def bounded(metadata: Any) -> str:
    """The canonical text of ``metadata``, an event's or a row's. Raises MetadataTooLarge."""
    text = canonical(metadata)
    if len(text) > MAX_METADATA:
        raise MetadataTooLarge(field="metadata", limit=MAX_METADATA)
    return text


def _event(
    event: EventType | str,
    subject: Subject,
    *,
    by: Actor,
    from_state: str | None = None,
    to_state: str | None = None,
    details: Mapping[str, Any],
) -> list[Any]:
    """The values of INSERT_EVENT for what brings ``subject`` to its present version."""
    of = (subject.subject_type, subject.pk, subject.version)
    states = (from_state, to_state)
    return _values(event, by, of, states, subject.audit_role, subject.audit_trace, details)


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
    return [str(event), str(by), by.id, *of, *states, role, trace_id, bounded(details)]


def _write(
    subject: Subject, statement: str, event: list[Any], values: list[Any], returned: list[Any]
) -> None:
    """The event and the change, in one statement; what it ``returned`` is set on ``subject``."""
    with planned_once() as cursor:
        cursor.execute(statement, [*event, *values])
        for field, value in zip(returned, cursor.fetchone(), strict=True):
            setattr(subject, field.attname, value)


@cache
def _written(model: type[Subject]) -> list[Any]:
    """The columns that are ours to write, beside those of the moment."""
    fields: list[Any] = list(model._meta.concrete_fields)
    return [field for field in fields if not field.generated and field.name not in TIMES]


@cache
def _insertion(model: type[Subject]) -> tuple[str, list[Any], list[Any]]:
    """The statement of ``create``, the columns that it is given, and those that it returns."""
    given = _written(model)
    fields: list[Any] = list(model._meta.concrete_fields)
    returned = [field for field in fields if field not in given]
    times = [model._meta.get_field(name) for name in TIMES]
    marks = ["%s" for _ in given] + [TOLD for _ in times]
    change = (
        f"({_names([*given, *times])}) VALUES ({', '.join(marks)}) RETURNING {_names(returned)}"
    )
    return f"{WITH_EVENT} INSERT INTO {model._meta.db_table} {change}", given, returned


@cache
def _update(model: type[Subject], changed: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """The statement of ``perform``, whose last parameter is the row's id; and what it returns."""
    sets = ", ".join([*(f"{_names([field])} = %s" for field in changed), f"updated_at = {TOLD}"])
    # Names of our own tables and columns.
    statement = f"{WITH_EVENT} UPDATE {model._meta.db_table} SET {sets} WHERE id = %s"  # noqa: S608
    return f"{statement} RETURNING updated_at", [model._meta.get_field("updated_at")]


def _names(fields: Sequence[Any]) -> str:
    return ", ".join(f'"{field.column}"' for field in fields)


def _to_save(subject: Subject, field: Any) -> Any:
    value = getattr(subject, field.attname)
    return None if value is None else field.get_db_prep_save(value, connection)
