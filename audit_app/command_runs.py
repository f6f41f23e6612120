"""The last run of each scheduled command, stored where every process can report it as a metric."""

import json
from collections.abc import Mapping
from typing import Any

from django.db import connection

RECORD = """
INSERT INTO command_runs AS known
    (command, finished_at, succeeded_at, seconds, runs, failures, done)
VALUES (%(command)s, clock_timestamp(), CASE WHEN %(ok)s THEN clock_timestamp() END, %(seconds)s,
    1, CASE WHEN %(ok)s THEN 0 ELSE 1 END, %(done)s::jsonb)
ON CONFLICT (command) DO UPDATE SET
    finished_at = excluded.finished_at,
    succeeded_at = coalesce(excluded.succeeded_at, known.succeeded_at),
    seconds = excluded.seconds,
    runs = known.runs + 1,
    failures = known.failures + excluded.failures,
    done = (SELECT coalesce(jsonb_object_agg(kind, coalesce((known.done ->> kind)::bigint, 0)
                + coalesce((excluded.done ->> kind)::bigint, 0)), '{}')
            FROM jsonb_object_keys(known.done || excluded.done) AS kind)
"""


def record(command: str, *, ok: bool, seconds: float, done: Mapping[str, int]) -> None:
    """Store a run of ``command`` and add ``done`` to its totals. Raises DatabaseError."""
    with connection.cursor() as cursor:
        params: dict[str, Any] = {
            "command": command,
            "ok": ok,
            "seconds": seconds,
            "done": json.dumps(dict(done)),
        }
        cursor.execute(RECORD, params)
