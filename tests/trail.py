"""Events of other processes, whose transactions are open for as long as a test wants."""

import time
from uuid import uuid4

import psycopg
from django.db import connection

from audit_app.base.canonical import canonical
from audit_app.live import event_log
from audit_app.trail import recording
from tests.database import database_url

INSERT = """
INSERT INTO audit_events (entry) VALUES (audit_entry(
    event_type => 'agent.noted', actor => 'agent:bot', actor_id => 'x', subject_type => 'note',
    subject_id => %s, seq => 1, from_state => NULL, to_state => NULL, role => NULL,
    trace_id => NULL, metadata => '{}'))
RETURNING position
"""


def record_event(row, event, *, by, states=(None, None), details=None):
    """Write the honest event that brings ``row`` to its version, and change nothing."""
    told = canonical(details or {})
    of = (event, str(by), by.id, row.subject_type, row.pk, row.version)
    with connection.cursor() as cursor:
        cursor.execute(
            recording.INSERT_EVENT, [*of, *states, row.audit_role, row.audit_trace, told]
        )


def writer():
    """Another process's connection, whose transaction is open until it commits."""
    return psycopg.connect(database_url())


def write_event(connection):
    return connection.execute(INSERT, [uuid4()]).fetchone()[0]


def wait_until_stable():
    """Return once everything is: PostgreSQL's own upkeep has transactions in this database, too."""
    deadline = time.monotonic() + 30
    while event_log.has_unstable_events(event_log.find_end()):
        assert time.monotonic() < deadline


def advance_once(relay):
    """How many events ``relay`` tells in one step, once all that there is can be told."""
    wait_until_stable()
    return relay.advance()


def catch_up(relay):
    """Let ``relay`` tell all there is."""
    while relay.advance() or relay.waits_for_older_transactions():
        pass
