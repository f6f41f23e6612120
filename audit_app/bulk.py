"""One transition of many rows: changed and recorded by one statement a batch."""

from collections.abc import Callable, Iterator
from typing import Any

from django.db import connection, transaction
from django_fsm import Transition

from audit_app.actors import Actor
from audit_app.canonical import canonical
from audit_app.events import EventType
from audit_app.models import Subject

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
