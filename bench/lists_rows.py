"""The rows of lists.py: equal numbers of sessions, tasks, approvals and events, one per 8 seconds.

``many`` made six of ten, ``few`` made twenty far apart, and two hundred others the rest; half of
the tasks are for finance, where ``payer`` and alice work. Each filtered column has a frequent value
and a rare one, whose rows lie far apart as well. Whatever is pending, active or claimed is newest.
Ids are derived from numbers, so that filling one table reads no other.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

PARTS = 100
"""In how many transactions each table is filled."""

PEOPLE = """
INSERT INTO auth_group (name) SELECT 'finance' UNION ALL SELECT 'role' || g
FROM generate_series(0, 19) g;
INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff,
    is_active, date_joined)
SELECT '!', name = 'root', name, '', '', name || '@example.com', true, true, now()
FROM unnest(ARRAY['alice', 'root', 'zoe']) name;
INSERT INTO auth_user_groups (user_id, group_id)
SELECT person.id, team.id FROM auth_user person JOIN auth_group team
ON (username, name) IN (('alice', 'finance'), ('zoe', 'role19'));
INSERT INTO agents (id, version, created_at, updated_at, name, roles, status)
SELECT md5('agent' || a)::uuid, 1, now(), now(),
    CASE a WHEN 1 THEN 'many' WHEN 2 THEN 'few' WHEN 3 THEN 'payer' ELSE 'agent' || a END,
    CASE a WHEN 1 THEN ARRAY['support', 'billing'] WHEN 2 THEN ARRAY['scout']
    WHEN 3 THEN ARRAY['finance'] ELSE ARRAY['role' || a % 20] END, 'active'
FROM generate_series(1, 203) a;
INSERT INTO agent_keys (id, prefix, hash, created_at, agent_id)
SELECT gen_random_uuid(), 'ork_', encode(sha256(('ork_' || name)::bytea), 'hex'), now(), id
FROM agents WHERE name IN ('many', 'few', 'payer')
"""

MADE = """
WITH made AS (SELECT n, %(rows)s - n AS age, least(1000, %(rows)s / 50) AS open,
    now() - (%(rows)s - n) * interval '8 seconds' AS at,
    CASE WHEN n % (%(rows)s / 20) = 7 THEN 2 WHEN n % 10 < 6 THEN 1 ELSE 4 + n % 200 END AS a,
    n % (%(rows)s / 20) = 8 AS rare
FROM generate_series(%(rows)s / %(parts)s * %(part)s + 1, %(rows)s / %(parts)s * (%(part)s + 1)) n),
roles AS (SELECT made.*, md5('agent' || a)::uuid AS agent_id, md5('trace' || n)::uuid AS trace_id,
    CASE WHEN a = 2 THEN 'scout' WHEN rare THEN 'billing' WHEN a = 1 THEN 'support'
    ELSE 'role' || a % 20 END AS from_role,
    CASE WHEN a = 2 THEN 'role0' WHEN rare THEN 'museum' WHEN n % 2 = 0 THEN 'finance'
    ELSE 'role' || n % 20 END AS to_role,
    CASE WHEN rare THEN 'failed' WHEN age < open THEN 'awaiting_approval'
    WHEN age < 3 * open THEN 'approved' WHEN age < 3.5 * open THEN 'claimed'
    WHEN n % 10 = 1 THEN 'rejected' WHEN n % 10 = 2 THEN 'expired' WHEN n % 10 = 3 THEN 'cancelled'
    ELSE 'completed' END AS state
FROM made)
"""

SESSIONS = """
INSERT INTO sessions (id, version, created_at, updated_at, role, task_id, status, metadata,
    trace_id, agent_id)
SELECT md5('session' || n)::uuid, 1, at, at, from_role, CASE WHEN n % 3 = 0 THEN 'much'
    ELSE 'ticket-' || n / 3 END, CASE WHEN rare THEN 'failed' WHEN age < open / 5 THEN 'pending'
    WHEN age < open THEN 'active' WHEN n % 10 = 2 THEN 'expired' ELSE 'completed' END, '{}',
    trace_id, agent_id FROM roles
"""

TASKS = """
INSERT INTO tasks (payload_digest, id, version, created_at, updated_at, task_type, description,
    from_role, to_role, data, context, payload, revision, trace_id, idempotency_key, status,
    agent_id, session_id, claimed_by_id, lease_expires_at, approved_until, on_behalf_of, policy,
    verdict, why)
SELECT repeat('0', 64), md5('task' || n)::uuid, 1, at, at, kind, '', from_role, to_role, d, '{}',
    jsonb_build_object('context', '{}'::jsonb, 'data', d, 'description', '',
        'from_role', from_role, 'task_type', kind, 'to_role', to_role)::text,
    1, trace_id, 'key-' || n, state, agent_id, md5('session' || n)::uuid,
    CASE state WHEN 'claimed' THEN md5('agent3')::uuid END,
    CASE state WHEN 'claimed' THEN at + interval '30 days' END,
    CASE state WHEN 'approved' THEN at + interval '30 days' END, '', 'refunds', 'require', ''
FROM (SELECT *, CASE WHEN rare THEN 'audit' ELSE 'refund_' || n % 7 END AS kind,
    jsonb_build_object('amount', n % 5000, 'currency', 'EUR') AS d FROM roles) r
"""

APPROVALS = """
INSERT INTO approvals (id, version, created_at, updated_at, approver_role, status, reason,
    payload_digest, expires_at, notes, trace_id, task_id, at_deadline, deny_threshold, needed,
    reminders, revision, risk, type_out, decided_by_id, decision_at)
SELECT md5('approval' || n)::uuid, 1, at, at, to_role, status, '', repeat('0', 64),
    at + interval '30 days', '', trace_id, md5('task' || n)::uuid, '{}', 1, 1, '[]', 1, 'normal',
    '', CASE WHEN status IN ('approved', 'rejected') THEN 1 + n % 3 END,
    CASE WHEN status IN ('approved', 'rejected') THEN at END
FROM (SELECT *, CASE WHEN rare THEN 'rejected' WHEN state = 'awaiting_approval' THEN 'pending'
    WHEN state = 'expired' THEN state WHEN state = 'cancelled' THEN 'withdrawn'
    ELSE 'approved' END AS status FROM roles) r
"""

EVENTS = """
INSERT INTO audit_events (id, entry, event_type, actor, actor_id, subject_type, subject_id, seq,
    role, trace_id, metadata, "timestamp")
SELECT md5('event' || n)::uuid, repeat('-', 400), CASE WHEN rare THEN 'task.revised' ELSE
    (ARRAY['session.opened', 'task.routed', 'approval.requested', 'session.activated'])[k] END,
    'agent:' || CASE a WHEN 1 THEN 'many' WHEN 2 THEN 'few' ELSE 'agent' || a END, agent_id::text,
    kind, md5(kind || n)::uuid, 1 + k / 4, CASE kind WHEN 'session' THEN from_role ELSE to_role END,
    trace_id, '{}', at
FROM (SELECT *, (ARRAY['session', 'task', 'approval', 'session'])[k] AS kind
    FROM (SELECT *, 1 + (n / 10) % 4 AS k FROM roles) k) r
ORDER BY n
"""

UNCHECKED = """
SELECT attrelid::regclass::text, format('ALTER COLUMN %I DROP EXPRESSION', attname)
FROM pg_attribute WHERE attgenerated = 's'
    AND attrelid = ANY(ARRAY['tasks', 'audit_events']::regclass[])
UNION ALL
SELECT conrelid::regclass::text, format('DROP CONSTRAINT %I', conname) FROM pg_constraint
WHERE conname IN ('tasks_payload_is_its_columns', 'audit_events_entry_is_its_columns')
"""
"""Checks and generated columns that make writing ten times slower and don't affect reads."""

SECONDARY = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = ANY(ARRAY['sessions', 'tasks', 'approvals', 'audit_events']::regclass[])
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


def generate_statements(rows: int, parts: int = PARTS) -> Iterator[str]:
    """The statements that insert the rows, ``parts`` for each table."""
    yield from PEOPLE.split(";\n")
    for table in (SESSIONS, TASKS, APPROVALS, EVENTS):
        for part in range(parts):
            numbers = {"rows": rows, "parts": parts, "part": part}
            text = MADE + table
            for name, number in numbers.items():
                text = text.replace(f"%({name})s", str(number))
            yield text


def fill(builder: "psycopg.Connection[Any]", rows: int) -> None:
    """Fill the database."""
    # Indexes are dropped first and built last, which is much faster.
    secondary = builder.execute(SECONDARY).fetchall()
    for name, _ in secondary:
        builder.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    for table, change in builder.execute(UNCHECKED).fetchall():
        builder.execute(f"ALTER TABLE {table} {change}".encode())
    for statement in generate_statements(rows):
        builder.execute(statement.encode())
        builder.commit()
    for _, definition in secondary:
        builder.execute(definition.encode())
    builder.commit()
