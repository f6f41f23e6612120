"""Many rows made, or one transition of many: changed and recorded by one statement a batch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import orjson
from django.db import connection, transaction
from django_fsm import Transition

from audit_app.base import tracing
from audit_app.base.actors import Actor
from audit_app.base.canonical import canonical, canonical_metadata
from audit_app.base.errors import OrchestratorError
from audit_app.base.events import EventType
from audit_app.base.prepared import prepared_cursor
from audit_app.models import Subject
from audit_app.trail.recording import describe_refusal, state_columns

S = TypeVar("S", bound=Subject)

BATCH = """
WITH due AS MATERIALIZED (
    SELECT row.id, row.status AS before FROM {table} AS row
    WHERE row.status = ANY(%(sources)s) AND ({condition})
    ORDER BY {order} LIMIT %(limit)s
    FOR NO KEY UPDATE OF row SKIP LOCKED
), moment AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), changed AS (
    UPDATE {table} AS row
    SET status = %(target)s, version = row.version + 1, updated_at = moment.at{also}
    FROM due, moment WHERE row.id = due.id
    RETURNING row.id, row.version, due.before, moment.at, {role} AS role, {trace} AS trace_id
)
INSERT INTO audit_events (entry)
SELECT audit_entry(
    event_type => %(event_type)s, actor => %(actor)s, actor_id => %(actor_id)s,
    subject_type => %(subject_type)s, subject_id => id, seq => version, from_state => before,
    to_state => %(target)s, role => role, trace_id => trace_id, metadata => %(metadata)s, at => at)
FROM changed
"""


def sources_of(change: Callable[..., Any]) -> tuple[list[str], str]:
    """From which states, and to which, an FSM transition (an unbound method) leads."""
    found: list[Transition] = list(change._django_fsm.transitions.values())  # type: ignore[attr-defined]
    return sorted(str(t.source) for t in found), str(found[0].target)


def perform_all(
    model: type[Subject],
    change: Callable[..., Any],
    *,
    by: Actor,
    condition: str,
    params: dict[str, Any],
    order: str = "row.id",
    limit: int | None = None,
    also: str = "",
    details: dict[str, Any] | None = None,
) -> int:
    """Make ``change`` (a transition of ``model``) of the rows, called ``row``, that meet
    ``condition``, and record each, in one statement; return how many there were.

    Rows that somebody else holds are passed over (SKIP LOCKED), and PostgreSQL judges
    ``condition`` again once a row is locked. ``condition``, ``order`` and ``also`` (further
    columns to set) are SQL of ours; values go into ``params``.
    """
    sources, target = sources_of(change)
    statement = BATCH.format(
        table=model._meta.db_table,
        condition=condition,
        order=order,
        also=f", {also}" if also else "",
        role=f"row.{model.role_column}" if model.role_column else "NULL",
        trace=f"row.{model.trace_column}" if model.trace_column else "NULL::uuid",
    )
    values = {
        "sources": sources,
        "target": target,
        "limit": limit,
        "event_type": change.recorded_as,  # type: ignore[attr-defined]  # marked
        "actor": str(by),
        "actor_id": by.id,
        "subject_type": model.subject_type,
        "metadata": canonical(details or {}),
        **params,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def in_batches(batch: Callable[[int], int], batch_size: int) -> Iterator[int]:
    """Run ``batch(limit)``, each in a transaction of its own, until there is nothing left to do;
    yield how many each did. Short transactions: nobody waits long, and a stop loses one batch."""
    while True:
        with transaction.atomic(durable=True):
            done = batch(batch_size)
        if done:
            yield done
        if done < batch_size:
            return


REMOVAL = """
WITH due AS MATERIALIZED (
    SELECT row.id FROM {table} AS row
    WHERE row.status = ANY(%(ended)s) AND ({condition})
    FOR UPDATE OF row SKIP LOCKED
), moment AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), removed AS (
    DELETE FROM {table} AS row USING due, moment WHERE row.id = due.id
    RETURNING row.id, row.version, row.status, moment.at, {role} AS role, {trace} AS trace_id
)
INSERT INTO audit_events (entry)
SELECT audit_entry(
    event_type => %(event_type)s, actor => %(actor)s, actor_id => %(actor_id)s,
    subject_type => %(subject_type)s, subject_id => id, seq => version + 1, from_state => status,
    to_state => NULL, role => role, trace_id => trace_id, metadata => '{{}}', at => at)
FROM removed
"""


def ended_states(model: type[Subject]) -> list[str]:
    """The states that no transition of ``model`` leaves."""
    field = next(field for field in model._meta.concrete_fields if field.name == "status")
    left = {str(t.source) for t in field.get_all_transitions(model)}  # type: ignore[attr-defined]  # an FSMField
    return sorted(str(state) for state, _ in field.choices or () if str(state) not in left)


def remove_all(
    model: type[Subject],
    event: EventType,
    *,
    by: Actor,
    condition: str,
    params: dict[str, Any],
    states: list[str] | None = None,
) -> int:
    """Remove the rows, called ``row``, that are in one of ``states`` (None: an ended one) and meet
    ``condition``, and record each removal as ``event``, in one statement; return how many there
    were.

    Rows that somebody else holds are passed over. ``condition`` is SQL of ours; values go into
    ``params``.
    """
    statement = REMOVAL.format(
        table=model._meta.db_table,
        condition=condition,
        role=f"row.{model.role_column}" if model.role_column else "NULL",
        trace=f"row.{model.trace_column}" if model.trace_column else "NULL::uuid",
    )
    values = {
        "ended": ended_states(model) if states is None else states,
        "event_type": event.value,
        "actor": str(by),
        "actor_id": by.id,
        "subject_type": model.subject_type,
        **params,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


CREATION = """
WITH moment AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), added AS (
    INSERT INTO {table} AS row ({columns}, version, created_at, updated_at)
    SELECT {columns}, 1, moment.at + given.ordinality * interval '1 microsecond',
        moment.at + given.ordinality * interval '1 microsecond'
    FROM moment, ROWS FROM (json_populate_recordset(NULL::{table}, %(rows)s::json))
        WITH ORDINALITY AS given
    ORDER BY {order} {unless}
    RETURNING row.id, row.status, row.created_at, {role} AS role, {trace} AS trace_id
)
INSERT INTO audit_events (entry)
SELECT audit_entry(
    event_type => %(event_type)s, actor => %(actor)s, actor_id => %(actor_id)s,
    subject_type => %(subject_type)s, subject_id => added.id, seq => 1, from_state => NULL,
    to_state => added.status, role => added.role, trace_id => added.trace_id,
    metadata => told.metadata, at => added.created_at)
FROM ROWS FROM (json_to_recordset(%(told)s::json) AS (id uuid, metadata text)) WITH ORDINALITY
    AS told JOIN added USING (id)
ORDER BY told.ordinality
RETURNING subject_id, timestamp
"""
SET_BY_THE_STATEMENT = {"version", "created_at", "updated_at"}


def create_all(
    subjects: Sequence[S],
    event: EventType,
    *,
    by: Actor,
    details: Sequence[Mapping[str, Any]] = (),
    once: Sequence[str] = (),
) -> list[S]:
    """Insert ``subjects``, all of one kind, each with its first event, as ``create`` does one, in
    one statement. Return those that were inserted. Each is a microsecond younger
    than the one before it, so that their order is known.

    A row whose unique key ``once`` is taken is left out. Rows are inserted in the order of that
    key, so that concurrent duplicates do not deadlock. Raises MetadataTooLarge.
    """
    if not subjects:
        return []
    model = type(subjects[0])
    statement, columns = _creation(model, tuple(once))
    values = {
        "rows": as_json([{c: getattr(each, name) for c, name in columns} for each in subjects]),
        "event_type": event.value,
        "actor": str(by),
        "actor_id": by.id,
        "subject_type": model.subject_type,
        "told": as_json(
            [
                {
                    "id": subject.pk,
                    "metadata": canonical_metadata(
                        state_columns(subject, subject.must_state, each)
                    ),
                }
                for subject, each in zip(subjects, details or [{}] * len(subjects), strict=True)
            ]
        ),
    }
    with prepared_cursor() as cursor:
        cursor.execute(statement, values)
        moments = dict(cursor.fetchall())
    for subject in (created := [each for each in subjects if each.pk in moments]):
        subject.version = 1
        subject.created_at = subject.updated_at = moments[subject.pk]
        subject._state.adding, subject._state.db = False, connection.alias
    return created


@cache
def _creation(model: type[Subject], once: tuple[str, ...]) -> tuple[str, list[tuple[str, str]]]:
    """The statement of ``create_all``, and its columns, each with the attribute of its value."""
    fields = [field for field in model._meta.concrete_fields if not field.generated]
    columns = [(str(f.column), f.attname) for f in fields if f.attname not in SET_BY_THE_STATEMENT]
    key = ", ".join(once)
    statement = CREATION.format(
        table=model._meta.db_table,
        columns=", ".join(column for column, _ in columns),
        order=key or "id",
        unless=f"ON CONFLICT ({key}) DO NOTHING" if once else "",
        role=f"row.{model.role_column}" if model.role_column else "NULL",
        trace=f"row.{model.trace_column}" if model.trace_column else "NULL::uuid",
    )
    return statement, columns


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as PostgreSQL reads them: one text is sent and read faster than arrays are."""
    return orjson.dumps(rows, default=_interval).decode()


def _interval(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"{value.days} days {value.seconds} seconds {value.microseconds} microseconds"
    raise TypeError(value)


REFUSALS = """
INSERT INTO audit_events (entry)
SELECT audit_entry(
    event_type => %(event_type)s, actor => %(actor)s, actor_id => %(actor_id)s,
    subject_type => 'refusal', subject_id => gen_random_uuid(), seq => 1, from_state => NULL,
    to_state => NULL, role => refusal.role, trace_id => refusal.trace_id,
    metadata => refusal.metadata)
FROM json_to_recordset(%(refusals)s::json) AS refusal (role text, trace_id uuid, metadata text)
"""


def record_refusals(operation: str, refusals: Sequence[OrchestratorError], *, by: Actor) -> None:
    """Write, in one statement, that ``by`` asked for ``operation`` so many times and was refused;
    those ``refusals`` that are about no row are not events."""
    about = [(refusal, refusal.subject) for refusal in refusals if refusal.subject is not None]
    if not about:
        return
    rows = [
        {
            "role": subject.audit_role,
            "trace_id": subject.audit_trace or tracing.current.get(None),
            "metadata": canonical_metadata(describe_refusal(operation, refusal, subject)),
        }
        for refusal, subject in about
    ]
    values = {
        "event_type": EventType.OPERATION_REFUSED.value,
        "actor": str(by),
        "actor_id": by.id,
        "refusals": as_json(rows),
    }
    with connection.cursor() as cursor:
        cursor.execute(REFUSALS, values)
