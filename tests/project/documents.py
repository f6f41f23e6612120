"""The documents that are drawn from the code and the live database: see test_documents.py."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db import connection

from audit_app.base.errors import OrchestratorError
from audit_app.trail.guards import first_states
from orchestrator.web.problems import STATUS_OF

STATES = {
    "Sessions": ("sessions_app.AgentSession", "What an agent's run of work goes through."),
    "Tasks": (
        "sessions_app.Task",
        "A task that needs nobody's yes begins as approved. A notification is completed when it is "
        "acknowledged.",
    ),
    "Approvals": ("approvals_app.Approval", "One human's yes, and what became of it."),
    "Agents": ("sessions_app.Agent", "A revoked agent stays, since the trail names it."),
}

TABLES = {
    "sessions": "Finished sessions are removed by `purge` once no task refers to them.",
    "tasks": "Finished tasks are removed by `purge`, with their approvals.",
    "approvals": "Removed with their task.",
    "audit_events": "Kept. Nothing in the product removes an event.",
    "agents": "Kept: the trail names them. Revoked instead of removed.",
    "agent_keys": "Kept, as hashes.",
    "task_revisions": "Removed with their tasks.",
    "votes": "Removed with their approvals.",
    "delegations": "Of one approval: removed with it. While away: kept.",
    "overrides": "Removed with their tasks, once they are reviewed.",
    "approval_policies": "Kept: tasks name them. Retired instead of removed.",
    "command_runs": "One row a command.",
    "schema_objects": "One row a function, view or trigger.",
    "webhooks": "Kept: the trail names them. Disabled instead of removed.",
    "webhook_deliveries": "Removed by `purge` once they are over for `WEBHOOK_LOG_DAYS`.",
    "notices": "Removed after 30 days, once settled.",
    "notice_channels": "Kept until their person removes them.",
    "notice_settings": "Kept with the person.",
    "trail_eras": "Kept. Empty unless the trail was restored into a younger cluster.",
    "tail_readers": "One row a relay of the worker.",
    "saved_views": "Kept until their author removes them.",
    "viewers": "Removed after an hour, by whoever looks next; unlogged.",
    "rate_limits": "Removed by `purge` once their minute is over; unlogged.",
    "sign_in_identities": "Kept with their person.",
    "request_receipts": "Removed by `purge` after `IDEMPOTENCY_TTL_SECONDS`.",
}

INDEXES = {
    "agents_pkey": "Identity.",
    "agents_name_key": "No two agents share a name.",
    "agents_name_like": "Searching agents by the beginning of their name.",
    "agents_subject_key": "One agent per OIDC subject; looked up at every JWT.",
    "agents_subject_like": "Made by Django beside the unique index.",
    "agents_owner_id": "The agents of a person.",
    "agent_keys_pkey": "Identity.",
    "agent_keys_hash_key": "Every request with a key looks it up here.",
    "agent_keys_hash_like": "Made by Django beside the unique index.",
    "agent_keys_agent_id": "The keys of an agent: rotate, revoke, the admin's page.",
    "schema_objects_pkey": "Identity.",
    "schema_objects_name_like": "Made by Django beside the primary key.",
    "audit_events_tail": "Reading the trail in the order of its commits.",
    "webhooks_pkey": "Identity.",
    "webhooks_name_key": "No two webhooks share a name.",
    "webhooks_name_like": "Made by Django beside the unique index.",
    "webhook_deliveries_pkey": "Identity.",
    "webhook_deliveries_once": "An event is noted once for a webhook.",
    "webhook_deliveries_newest": "The log of a webhook.",
    "webhook_deliveries_open": "What is not delivered, by webhook.",
    "webhook_deliveries_last": "When something last arrived.",
    "webhook_deliveries_age": "`purge`: what is over for long.",
    "webhook_deliveries_webhook_id": "Foreign key.",
    "notices_pkey": "Identity.",
    "notices_once": "An event is told once at a place.",
    "notices_open": "What is due to be sent.",
    "notices_of_one": "A person's page of notices.",
    "notices_age": "Settled notices that are removed.",
    "notice_channels_pkey": "Identity.",
    "notice_channels_person_id": "The channels of a person.",
    "notice_settings_pkey": "Identity.",
    "trail_eras_pkey": "Identity.",
    "tail_readers_pkey": "Identity.",
    "tail_readers_name_like": "Made by Django beside the primary key.",
    "command_runs_pkey": "Identity.",
    "command_runs_command_like": "Made by Django beside the primary key.",
    "rate_limits_pkey": "Each counted request that asks for a further share.",
    "rate_limits_caller_like": "Made by Django beside the primary key.",
    "rate_limits_window": "`purge`: minutes that are over.",
    "sign_in_identities_pkey": "Identity.",
    "sign_in_identities_once": "One person per subject of an issuer; looked up at each sign-in.",
    "sign_in_identities_user_id_key": "One identity per person.",
    "sessions_pkey": "Identity.",
    "sessions_agent_newest": "An agent's own list, newest first.",
    "sessions_agent_status": "An agent's own list, by state; and the foreign key.",
    "sessions_role": "Lists by role.",
    "sessions_created_at": "The auditor's list and its cursor.",
    "sessions_open_by_age": "`expire_sessions`: only open sessions, oldest first.",
    "sessions_status": "Lists by state, and the view `active_sessions`.",
    "sessions_task_id": "Who works on a task.",
    "tasks_pkey": "Identity.",
    "tasks_claimed_session_id": "The tasks of a session.",
    "tasks_session_id": "The tasks of a session.",
    "tasks_created_at": "The auditor's list and its cursor.",
    "tasks_inbox": "What is addressed to a role, by state, newest first.",
    "tasks_leases": "`release_leases`: only claimed tasks.",
    "tasks_once_per_key": "One task per key and caller, for good; found by the key alone, too.",
    "tasks_to_role": "What is addressed to a role, newest first.",
    "tasks_from_role": "What a role asks, newest first.",
    "tasks_status": "Lists by state.",
    "tasks_type": "Lists by type.",
    "tasks_approved_until": "`expire_approvals`: only approved ones whose approval ends.",
    "task_revisions_pkey": "Identity.",
    "task_revisions_once": "The payloads of a task, in order.",
    "task_revisions_task_id": "Foreign key.",
    "task_revisions_edited_by_id": "Foreign key.",
    "tasks_routed_by": "What an agent routed, newest first.",
    "tasks_trace_id": "The tasks of a trace.",
    "tasks_waiting_words": "Searching what waits by words of its payload.",
    "tasks_on_behalf_of": "What agents ask for on a person's behalf, newest first.",
    "saved_views_pkey": "Identity.",
    "saved_views_once": "A person's views, by name.",
    "viewers_pkey": "Identity.",
    "viewers_once": "Who looks at an approval.",
    "viewers_seen_at": "Those that are to be removed.",
    "approvals_pkey": "Identity.",
    "approvals_task_id": "The approvals of a task.",
    "approvals_decided_by_id": "The decisions of a person.",
    "approvals_created_at": "The auditor's list and its cursor.",
    "approvals_deadlines": "`expire_approvals`: only pending ones.",
    "approvals_inbox": "A reviewer's inbox: what is pending for a role, by deadline.",
    "approvals_one_pending_per_role": "A role is asked once at a time about a task.",
    "approvals_override_id": "The reviews of an override.",
    "approvals_reminders": "`remind_approvals`: only pending ones that have a reminder left.",
    "approvals_escalated_to": "`purge`: whether another approval refers to the one it removes.",
    "votes_pkey": "Identity.",
    "votes_approval_id": "The votes on an approval.",
    "votes_one_each": "A person votes once on an approval.",
    "votes_one_a_seat": "A seat is used once on an approval.",
    "votes_of_one": "What a person voted, newest first.",
    "votes_seat_of_id": "Foreign key.",
    "delegations_pkey": "Identity.",
    "delegations_active": "For whom a person may vote now.",
    "delegations_approval_id": "The delegations of an approval.",
    "delegations_delegate_id": "Foreign key.",
    "delegations_delegator_id": "Whom a person named to stand in.",
    "overrides_pkey": "Identity.",
    "overrides_once": "A revision of a task is approved alone once.",
    "overrides_open": "Those that wait for their review, by deadline.",
    "overrides_opened_by_id": "Foreign key.",
    "overrides_task_id": "The overrides of a task.",
    "approval_policies_pkey": "Identity.",
    "approval_policies_name_key": "No two policies share a name.",
    "approval_policies_name_like": "Searching policies by the beginning of their name.",
    "approvals_status": "Lists by state.",
    "approvals_role": "Lists by the role that is asked.",
    "audit_events_pkey": "Identity.",
    "audit_events_position_key": "The order of insertion, and the cursor.",
    "audit_events_subject_seq": "Gapless history of a subject; the guard's look-up.",
    "audit_events_actor": "What somebody did.",
    "audit_events_role": "What concerns a role.",
    "audit_events_subject": "The history of a row.",
    "audit_events_timestamp": "What happened in a span of time.",
    "audit_events_trace": "The story of a trace.",
    "audit_events_type": "Where an event happened.",
    "request_receipts_pkey": "Identity.",
    "request_receipts_once": "One answer per caller, endpoint and key: the lock of idempotency.",
    "request_receipts_age": "`purge`.",
}

COLUMNS = """
SELECT column_name, format_type(attribute.atttypid, attribute.atttypmod), is_nullable = 'YES',
       col_description(relation.oid, ordinal_position)
FROM information_schema.columns
JOIN pg_class AS relation ON relation.relname = table_name
JOIN pg_attribute AS attribute ON attrelid = relation.oid AND attname = column_name
WHERE table_schema = 'public' AND table_name = %s ORDER BY ordinal_position
"""
CHECKS = """
SELECT conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
WHERE relname = %s AND contype IN ('c', 'f') AND conname !~ '_[0-9a-f]{8}(_fk_|_check)'
ORDER BY conname
"""


HASH = re.compile(r"_[0-9a-f]{8}(?=$|_like$|_uniq$)")


def rows(statement: str, *params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall()


def transitions(model: Any) -> Iterator[tuple[str, str, str, str]]:
    """(name, source, target, event) of every transition, in the order of the code."""
    found = list(model._meta.get_field("status").get_all_transitions(model))
    order = list(model.__dict__)
    for one in sorted(found, key=lambda t: (order.index(t.name), str(t.source))):
        yield one.name, str(one.source), str(one.target), getattr(model, one.name).recorded_as


def states() -> str:
    """docs/states.md"""
    parts = [
        "# States",
        "Drawn from the state machines in the models; `make docs` draws it anew, a test compares. "
        "Every arrow is one operation and one event, and the database refuses any other "
        "(`*/sql/triggers/*_transitions.sql`).",
    ]
    for title, (label, about) in STATES.items():
        model: Any = apps.get_model(label)
        arrows = list(transitions(model))
        lines = ["```mermaid", "stateDiagram-v2"]
        lines += [f"    [*] --> {state}" for state in first_states(model)]
        lines += [f"    {source} --> {target}: {name}" for name, source, target, _ in arrows]
        ends = sorted(set(model.Status.values) - {source for _, source, _, _ in arrows})
        lines += [f"    {state} --> [*]" for state in ends]
        table = ["| from | transition | to | event |", "| --- | --- | --- | --- |"]
        table += [f"| {s} | {n} | {t} | `{e}` |" for n, s, t, e in arrows]
        parts += [f"## {title}", about, "\n".join([*lines, "```"]), "\n".join(table)]
    return "\n\n".join(parts) + "\n"


def _kind(error: type[OrchestratorError]) -> int:
    return next(status for kind, status in STATUS_OF if issubclass(error, kind))


def _all_errors(base: type[OrchestratorError]) -> Iterator[type[OrchestratorError]]:
    for one in base.__subclasses__():
        yield one
        yield from _all_errors(one)


def errors() -> str:
    """docs/errors.md"""
    kinds = {kind for kind, _ in STATUS_OF}
    mine = sorted(
        (
            e
            for e in set(_all_errors(OrchestratorError))
            if e not in kinds and "_app" in e.__module__
        ),
        key=lambda e: (_kind(e), e.code),
    )
    table = ["| code | status | what it says |", "| --- | --- | --- |"]
    table += [f"| `{e.code}` | {_kind(e)} | {e.sentence} |" for e in mine]
    return (
        inspect.cleandoc(
            """
        # Errors

        Every error is `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`, a
        stable `code`, the `trace_id`, and, where a field is to blame, `errors` with `field`,
        `detail` and `code`. Program against `code`; `detail` is for people and may change.

        ## By the rules

        {table}

        A 409 of a state names it in `state`, and what is possible instead in `allowed`.

        ## At the door

        | code | status | when |
        | --- | --- | --- |
        | `invalid_request` | 400 | a value is not valid; `errors` names each field |
        | `malformed_json` | 400 | the body is not a JSON object |
        | `invalid_utf8` | 400 | the body is not UTF-8 |
        | `duplicate_name` | 400 | a name is given twice in one object |
        | `inexact_number` | 400 | a number that JSON readers would round |
        | `nul_character`, `lone_surrogate` | 400 | text that PostgreSQL or others can't hold |
        | `too_many_values` | 400 | more than 10,000 values in one body |
        | `incomplete_body` | 400 | shorter than its Content-Length |
        | `too_deep` | 400 | nested deeper than 32 |
        | `bad_host` | 400 | the Host header names no host of this server |
        | `not_authenticated` | 401 | nobody said who calls |
        | `invalid_key`, `invalid_token`, `unknown_subject` | 401 | who calls is not known |
        | `csrf_failed` | 403 | a cookie without its CSRF token |
        | `forbidden` | 403 | the caller may not do this |
        | `not_found` | 404 | nothing is there, or it is not the caller's to see |
        | `method_not_allowed` | 405 | not at this address |
        | `not_acceptable` | 406 | only JSON is spoken |
        | `body_too_large` | 413 | larger than `MAX_BODY_BYTES` |
        | `unsupported_media_type` | 415 | only `application/json` is read |
        | `throttled` | 429 | more than a limit allows; `Retry-After` says for how long |
        | `internal_error` | 500 | our fault; logged under the trace id |
        | `issuer_unavailable` | 503 | the issuer's keys can't be had now; with `Retry-After` |
        | `database_unavailable` | 503 | with `Retry-After`; nothing was lost |
        """
        ).replace("{table}", "\n".join(table))
        + "\n"
    )


def database() -> str:
    """docs/database.md"""
    parts = [
        "# Database",
        "Read from the live schema; `make docs` writes it anew and a test compares. The same words "
        "are in the database as COMMENTs (`\\d+` in psql). PostgreSQL 15 or later.",
        "Rows of `agents`, `sessions`, `tasks` and `approvals` change only together with their "
        "audit event: a deferred trigger refuses anything else at commit. `audit_events` refuses "
        "UPDATE, DELETE and TRUNCATE.",
    ]
    for table, retention in TABLES.items():
        [(about,)] = rows("SELECT obj_description(%s::regclass)", table)
        columns = ["| column | type | empty | what it is |", "| --- | --- | --- | --- |"]
        columns += [
            f"| {name} | {kind} | {'may be' if nullable else 'never'} | {comment} |"
            for name, kind, nullable, comment in rows(COLUMNS, table)
        ]
        live = rows("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s", table)
        indexes = ["| index | on | for |", "| --- | --- | --- |"]
        indexes += sorted(_index(table, name, definition) for name, definition in live)
        checks = ", ".join(f"`{name}`" for (name,) in rows(CHECKS, table))
        parts += [f"## {table}", f"{about} {retention}", "\n".join(columns), "\n".join(indexes)]
        if checks:
            parts.append(f"Constraints: {checks}.")
    for view in ("active_sessions", "pending_approvals"):
        [(about,)] = rows("SELECT obj_description(%s::regclass)", view)
        names = ", ".join(f"`{name}`" for name, *_ in rows(COLUMNS, view))
        parts += [f"## {view} (view)", f"{about} Columns: {names}."]
    parts += ["## Relations", RELATIONS]
    return "\n\n".join(parts) + "\n"


def _index(table: str, name: str, definition: str) -> str:
    known = HASH.sub("", name)  # Django ends the names that it makes itself with one
    assert known in INDEXES, f"say in tests/project/documents.py what {known} is for"
    on = definition.partition(" USING ")[2].partition(" ")[2]
    return f"| {known} | `{on}` | {INDEXES[known]} |"


RELATIONS = """\
```mermaid
erDiagram
    agents ||--o{ agent_keys : holds
    agents ||--o{ sessions : opens
    agents ||--o{ tasks : routes
    agents |o--o{ tasks : claims
    sessions |o--o{ tasks : "routes, claims"
    tasks ||--o{ approvals : needs
    auth_user |o--o{ agents : owns
    auth_user |o--o{ approvals : decides
```

An approval refers to its task by id and payload digest together: it can't outlive the payload that
was shown. An audit event names its subject by `subject_type` and `subject_id`, without a foreign
key: it outlives what it tells of."""
