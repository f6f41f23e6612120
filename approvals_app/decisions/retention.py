"""Removes finished rows past retention, in batches. The trail keeps their events."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from approvals_app.models import Approval, Claim, Comment, Delegation, Override, Snooze, Vote
from audit_app.base.actors import Actor
from audit_app.base.events import EventType
from audit_app.models import Subject
from audit_app.trail.bulk import ended_states, remove_all
from sessions_app.models import AgentSession, Task, TaskRevision

OLD_TASK = """
task.status = ANY(%(task_ended)s) AND task.updated_at < clock_timestamp() - %(older_than)s
AND NOT EXISTS (
    SELECT FROM approvals AS open WHERE open.task_id = task.id
    AND open.status <> ALL(%(approval_ended)s))
"""
OLD_SESSION = """
session.status = ANY(%(session_ended)s) AND session.updated_at < clock_timestamp() - %(older_than)s
"""
OLD_RESPONSE = "created_at < clock_timestamp() - make_interval(secs => %(ttl)s)"

LOCK_TASKS = f"""
SELECT task.id FROM tasks AS task WHERE {OLD_TASK}
ORDER BY task.updated_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""  # noqa: S608  # put together from pieces of ours; values are parameters
# A task is removed with all of its approvals or not at all: if one of them is locked, it stays.
LOCK_APPROVALS = """
WITH held AS MATERIALIZED (
    SELECT id FROM approvals WHERE task_id = ANY(%(tasks)s) FOR UPDATE SKIP LOCKED
)
SELECT task FROM unnest(%(tasks)s::uuid[]) AS task WHERE NOT EXISTS (
    SELECT FROM approvals WHERE task_id = task AND id NOT IN (SELECT id FROM held))
"""
LOCK_SESSIONS = f"""
SELECT session.id FROM sessions AS session WHERE {OLD_SESSION}
AND NOT EXISTS (SELECT FROM tasks WHERE session_id = session.id)
AND NOT EXISTS (SELECT FROM tasks WHERE claimed_session_id = session.id)
ORDER BY session.updated_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""  # noqa: S608  # as above
REMOVE_RESPONSES = f"""
DELETE FROM request_receipts WHERE id IN (
    SELECT id FROM request_receipts WHERE {OLD_RESPONSE}
    ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
"""  # noqa: S608  # as above
COUNT = f"""
WITH old AS MATERIALIZED (
    SELECT task.id, session_id, claimed_session_id FROM tasks AS task WHERE {OLD_TASK}
), staying AS MATERIALIZED (
    SELECT session_id, claimed_session_id FROM tasks WHERE id NOT IN (SELECT id FROM old)
)
SELECT (SELECT count(*) FROM old),
    (SELECT count(*) FROM approvals WHERE task_id IN (SELECT id FROM old)),
    (SELECT count(*) FROM sessions AS session WHERE {OLD_SESSION}
        AND NOT EXISTS (SELECT FROM staying WHERE session_id = session.id)
        AND NOT EXISTS (SELECT FROM staying WHERE claimed_session_id = session.id)),
    (SELECT count(*) FROM request_receipts WHERE {OLD_RESPONSE})
"""  # noqa: S608  # as above
KINDS = ("tasks", "approvals", "sessions", "receipts")


def count_old(*, older_than: timedelta) -> dict[str, int]:
    """How many rows of each of KINDS ``purge`` would remove now, if none of them is locked."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT, _build_params(older_than))
        return dict(zip(KINDS, cursor.fetchone(), strict=True))


def purge(*, by: Actor, older_than: timedelta, batch_size: int) -> Iterator[Counter[str]]:
    """Remove rows that have not changed for ``older_than``; yield each batch's counts by kind.

    Removes finished tasks with their approvals if all of these are decided, finished sessions to
    which no remaining task refers, and stored responses past IDEMPOTENCY_TTL_SECONDS; never an
    event. Locked rows are left for the next run.
    """
    conditions = _build_params(older_than)
    for batch in (_remove_tasks, _remove_sessions, _remove_responses):
        yield from _run_batches(batch, by, conditions | {"limit": batch_size})


Batch = Callable[[Actor, dict[str, Any]], Counter[str]]


def _run_batches(batch: Batch, by: Actor, params: dict[str, Any]) -> Iterator[Counter[str]]:
    while True:
        with transaction.atomic(durable=True):
            removed = batch(by, params)
        if not removed.total():
            return
        yield removed


def _remove_tasks(by: Actor, params: dict[str, Any]) -> Counter[str]:
    # Tasks before approvals, as everywhere.
    locked = _select_ids(LOCK_TASKS, params)
    whole = {"tasks": _select_ids(LOCK_APPROVALS, {"tasks": locked})}
    _remove_dependents(whole, by)
    approvals = remove_all(
        Approval,
        EventType.APPROVAL_PURGED,
        by=by,
        condition="row.task_id = ANY(%(tasks)s)",
        params=whole,
    )
    remove_all(
        Override,
        EventType.OVERRIDE_PURGED,
        by=by,
        condition="row.task_id = ANY(%(tasks)s)",
        params=whole,
    )
    TaskRevision.objects.filter(task__in=whole["tasks"]).delete()
    tasks = remove_all(
        Task, EventType.TASK_PURGED, by=by, condition="row.id = ANY(%(tasks)s)", params=whole
    )
    return Counter(tasks=tasks, approvals=approvals)


def _remove_dependents(whole: dict[str, list[UUID]], by: Actor) -> None:
    """Remove the votes, comments and delegations of the tasks' approvals, in whatever state they
    are, and what people set aside or took."""
    condition = "row.approval_id IN (SELECT id FROM approvals WHERE task_id = ANY(%(tasks)s))"
    dependents: tuple[tuple[type[Subject], EventType], ...] = (
        (Vote, EventType.VOTE_PURGED),
        (Comment, EventType.COMMENT_PURGED),
        (Delegation, EventType.DELEGATION_PURGED),
    )
    for model, event in dependents:
        states = [str(state) for state in model.Status.values]  # type: ignore[attr-defined]
        remove_all(model, event, by=by, condition=condition, params=dict(whole), states=states)
    for unaudited in (Snooze, Claim):
        unaudited.objects.filter(approval__task__in=whole["tasks"]).delete()


def _remove_sessions(by: Actor, params: dict[str, Any]) -> Counter[str]:
    # The condition is checked again: a task may have been routed before the session was locked.
    sessions = remove_all(
        AgentSession,
        EventType.SESSION_PURGED,
        by=by,
        condition="""row.id = ANY(%(sessions)s)
            AND NOT EXISTS (SELECT FROM tasks WHERE session_id = row.id)
            AND NOT EXISTS (SELECT FROM tasks WHERE claimed_session_id = row.id)""",
        params={"sessions": _select_ids(LOCK_SESSIONS, params)},
    )
    return Counter(sessions=sessions)


def _remove_responses(by: Actor, params: dict[str, Any]) -> Counter[str]:
    with connection.cursor() as cursor:
        cursor.execute(REMOVE_RESPONSES, params)
        return Counter(receipts=cursor.rowcount)


def _select_ids(statement: str, params: dict[str, Any]) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return [pk for (pk,) in cursor.fetchall()]


def _build_params(older_than: timedelta) -> dict[str, Any]:
    return {
        "older_than": older_than,
        "task_ended": ended_states(Task),
        "approval_ended": ended_states(Approval),
        "session_ended": ended_states(AgentSession),
        "ttl": settings.IDEMPOTENCY_TTL_SECONDS,
    }
