"""The documents that are generated from the code and the live database: see test_documents.py."""

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
    "Sessions": ("sessions_app.AgentSession", "One run of an agent."),
    "Tasks": (
        "sessions_app.Task",
        "A task that needs no approval starts as approved. A notification is completed when it is "
        "acknowledged.",
    ),
    "Approvals": ("approvals_app.Approval", "The decision of one group on one revision of a task."),
    "Agents": ("sessions_app.Agent", "Revoked agents are kept, because the trail names them."),
}

TABLES = {
    "sessions": "`purge` removes finished sessions that no task refers to.",
    "tasks": "`purge` removes finished tasks with their approvals.",
    "approvals": "Removed with their task.",
    "audit_events": "Never removed.",
    "agents": "Kept, because the trail names them; revoked instead.",
    "agent_keys": "Kept, as hashes.",
    "task_revisions": "Removed with the task.",
    "votes": "Removed with the approval.",
    "comments": "Removed with the approval.",
    "freezes": "Kept, because deadlines count the time of a freeze; lifted instead.",
    "passkeys": "Kept.",
    "passkey_uses": "Kept.",
    "delegations": "For one approval: removed with it. For a period: kept.",
    "overrides": "Removed with the task, once reviewed.",
    "approval_policies": "Kept, because tasks name them; retired instead.",
    "command_runs": "One row per command.",
    "schema_objects": "One row per function, view or trigger.",
    "webhooks": "Kept, because the trail names them; disabled instead.",
    "webhook_deliveries": "`purge` removes finished deliveries after `WEBHOOK_LOG_DAYS`.",
    "gateway_upstreams": "Kept, because the trail names them; disabled instead.",
    "gateway_calls": "Removed when the agent has the outcome; of a client's own key after 90 days.",
    "notices": "Removed 30 days after they were sent, dropped or given up.",
    "notice_channels": "Kept until the person removes them.",
    "push_subscriptions": "Kept until the person removes them, or the browser is gone.",
    "notice_settings": "Kept with the person.",
    "trail_eras": "Kept. Empty unless the trail was restored into a younger cluster.",
    "tail_readers": "One row per consumer of the worker.",
    "audit_log_epochs": "Never removed. One row, and one for each restore.",
    "audit_log_leaves": "Never removed. One row per 256 events.",
    "audit_log_tiles": "Never removed. One row per 256 hashes.",
    "audit_checkpoints": "Never removed.",
    "person_aliases": "Kept with the person.",
    "saved_views": "Kept until the author removes them.",
    "snoozes": "Removed with the approval.",
    "claims": "Removed with the approval.",
    "viewers": "Removed after an hour, at the next page view; unlogged.",
    "rate_limits": "`purge` removes past minutes; unlogged.",
    "sign_in_identities": "Kept with the person.",
    "sign_in_sessions": "Removed with the session.",
    "request_receipts": "`purge` removes them after `IDEMPOTENCY_TTL_SECONDS`.",
}

INDEXES = {
    "agents_pkey": "Primary key.",
    "agents_name_key": "No two agents share a name.",
    "agents_name_like": "Searching agents by name prefix.",
    "agents_subject_key": "One agent per OIDC subject; looked up for every JWT.",
    "agents_subject_like": "Created by Django with the unique index.",
    "agents_owner_id": "The agents of a person.",
    "agent_keys_pkey": "Primary key.",
    "agent_keys_hash_key": "Looking up the key of a request.",
    "agent_keys_hash_like": "Created by Django with the unique index.",
    "agent_keys_agent_id": "The keys of an agent: rotate, revoke, the admin's page.",
    "schema_objects_pkey": "Primary key.",
    "schema_objects_name_like": "Created by Django with the primary key.",
    "audit_events_tail": "Reading the trail in commit order.",
    "gateway_upstreams_pkey": "Primary key.",
    "gateway_upstreams_name_key": "No two upstreams share a name.",
    "gateway_upstreams_name_like": "Created by Django with the unique index.",
    "gateway_calls_pkey": "Primary key.",
    "gateway_calls_once_per_key": "One open call per agent and key.",
    "gateway_calls_running": "Calls whose outcome should be recorded by now.",
    "gateway_calls_age": "Removing calls after 90 days.",
    "webhooks_pkey": "Primary key.",
    "webhooks_name_key": "No two webhooks share a name.",
    "webhooks_name_like": "Created by Django with the unique index.",
    "webhook_deliveries_pkey": "Primary key.",
    "webhook_deliveries_once": "One delivery per event and webhook.",
    "webhook_deliveries_newest": "The log of a webhook.",
    "webhook_deliveries_open": "Undelivered events, by webhook.",
    "webhook_deliveries_next": "What a worker sends next.",
    "webhook_deliveries_leased": "What is being sent.",
    "webhook_deliveries_subject": "Whether an earlier delivery of the subject waits.",
    "webhook_deliveries_last": "The last successful delivery.",
    "webhook_deliveries_age": "`purge`: old finished deliveries.",
    "webhook_deliveries_webhook_id": "Foreign key.",
    "notices_pkey": "Primary key.",
    "notices_once": "One notice per event and destination.",
    "notices_open": "Notices that are due.",
    "notices_of_one": "A person's page of notices.",
    "notices_age": "Removing old notices.",
    "notice_channels_pkey": "Primary key.",
    "notice_channels_person_id": "The channels of a person.",
    "push_subscriptions_pkey": "Primary key.",
    "push_subscriptions_once": "One person per browser; finding it again.",
    "push_subscriptions_person_id": "The devices of a person.",
    "notice_settings_pkey": "Primary key.",
    "trail_eras_pkey": "Primary key.",
    "audit_log_epochs_pkey": "Primary key.",
    "audit_log_leaves_pkey": "Primary key.",
    "audit_log_leaves_cursor": "Finding the leaf of an event.",
    "audit_log_tiles_pkey": "Primary key.",
    "audit_checkpoints_pkey": "Primary key.",
    "audit_checkpoints_size": "One checkpoint per size and epoch.",
    "tail_readers_pkey": "Primary key.",
    "tail_readers_name_like": "Created by Django with the primary key.",
    "command_runs_pkey": "Primary key.",
    "command_runs_command_like": "Created by Django with the primary key.",
    "rate_limits_pkey": "Taking a share of a limit.",
    "rate_limits_caller_like": "Created by Django with the primary key.",
    "rate_limits_window": "`purge`: past minutes.",
    "sign_in_identities_pkey": "Primary key.",
    "sign_in_identities_once": "One person per issuer and subject; looked up at sign-in.",
    "sign_in_identities_user_id_key": "One identity per person.",
    "sign_in_sessions_pkey": "One login per session.",
    "sign_in_sessions_session_id_like": "Created by Django with the primary key.",
    "sign_in_sessions_subject": "The sessions that a logout of a person ends.",
    "sign_in_sessions_sid": "The sessions that a logout of a login ends.",
    "sessions_pkey": "Primary key.",
    "sessions_agent_newest": "An agent's own list, newest first.",
    "sessions_agent_status": "An agent's own list, by state; and the foreign key.",
    "sessions_role": "Lists by role.",
    "sessions_created_at": "The auditor's list and its cursor.",
    "sessions_open_by_age": "`expire_sessions`: only open sessions, oldest first.",
    "sessions_status": "Lists by state, and the view `active_sessions`.",
    "sessions_task_id": "The sessions of a task.",
    "tasks_identifiers": "Other tasks about the same order, invoice, account or resource, for the "
    "decision page.",
    "tasks_pkey": "Primary key.",
    "tasks_claimed_session_id": "The tasks of a session.",
    "tasks_session_id": "The tasks of a session.",
    "tasks_created_at": "The auditor's list and its cursor.",
    "tasks_inbox": "A role's tasks by state, newest first.",
    "tasks_leases": "`release_leases`: only claimed tasks.",
    "tasks_once_per_key": "One task per key and caller, permanently; also searched by key alone.",
    "tasks_to_role": "A role's tasks, newest first.",
    "tasks_from_role": "Tasks from a role, newest first.",
    "tasks_status": "Lists by state.",
    "tasks_type": "Lists by type.",
    "tasks_approved_until": "`expire_approvals`: only approved tasks with an end.",
    "task_revisions_pkey": "Primary key.",
    "task_revisions_once": "The revisions of a task, in order.",
    "task_revisions_task_id": "Foreign key.",
    "task_revisions_edited_by_id": "Foreign key.",
    "tasks_routed_by": "Tasks that an agent routed, newest first.",
    "tasks_trace_id": "The tasks of a trace.",
    "tasks_waiting_words": "Full-text search of waiting tasks.",
    "tasks_on_behalf_of": "Tasks on a person's behalf, newest first.",
    "person_aliases_pkey": "Primary key.",
    "person_aliases_once": "The names of a person, for separation of duties.",
    "person_aliases_name": "Whose name or address on_behalf_of is, or was.",
    "saved_views_pkey": "Primary key.",
    "saved_views_once": "A person's views, by name.",
    "comments_pkey": "Primary key.",
    "comments_approval_id": "The comments on an approval.",
    "snoozes_pkey": "Primary key.",
    "snoozes_once": "A person sets an approval aside once.",
    "snoozes_of_one": "What a person set aside.",
    "claims_pkey": "Who has an approval.",
    "claims_user_id": "Foreign key.",
    "viewers_pkey": "Primary key.",
    "viewers_once": "Who has an approval open.",
    "viewers_seen_at": "Removing old rows.",
    "approvals_pkey": "Primary key.",
    "approvals_task_id": "The approvals of a task.",
    "approvals_decided_by_id": "The decisions of a person.",
    "approvals_created_at": "The auditor's list and its cursor.",
    "approvals_deadlines": "`expire_approvals`: only pending ones.",
    "approvals_inbox": "The inbox: pending approvals of a role, by deadline.",
    "approvals_urgency": "The list of the inbox: reviews, high risk, others, each by deadline.",
    "approvals_one_pending_per_role": "One pending approval per task and role.",
    "approvals_override_id": "The reviews of an override.",
    "approvals_reminders": "`remind_approvals`: only pending ones with a reminder left.",
    "approvals_escalated_to": "`purge`: whether another approval refers to this one.",
    "votes_pkey": "Primary key.",
    "votes_approval_id": "The votes on an approval.",
    "votes_one_each": "A person votes once on an approval.",
    "votes_one_a_seat": "A seat votes once on an approval.",
    "votes_of_one": "A person's votes, newest first.",
    "votes_seat_of_id": "Foreign key.",
    "votes_signature_once": "A signature is of one vote.",
    "freezes_pkey": "Primary key.",
    "freezes_agent_id": "An agent's freezes.",
    "freezes_once": "A target is frozen once at a time.",
    "passkeys_pkey": "Primary key.",
    "passkeys_credential_once": "Which passkey an authenticator used.",
    "passkeys_user_id": "A person's passkeys.",
    "passkey_uses_pkey": "Primary key.",
    "delegations_pkey": "Primary key.",
    "delegations_active": "Whose seats a person may use now.",
    "delegations_approval_id": "The delegations of an approval.",
    "delegations_delegate_id": "Foreign key.",
    "delegations_delegator_id": "The delegates of a person.",
    "overrides_pkey": "Primary key.",
    "overrides_once": "One override per revision of a task.",
    "overrides_open": "Overrides to be reviewed, by deadline.",
    "overrides_opened_by_id": "Foreign key.",
    "overrides_task_id": "The overrides of a task.",
    "approval_policies_pkey": "Primary key.",
    "approval_policies_name_key": "No two policies share a name.",
    "approval_policies_name_like": "Searching policies by name prefix.",
    "approvals_status": "Lists by state.",
    "approvals_role": "Lists by approver role.",
    "audit_events_pkey": "Primary key.",
    "audit_events_position_key": "Insertion order, for cursors.",
    "audit_events_subject_seq": "A subject's gapless history; looked up by the transition trigger.",
    "audit_events_actor": "Events of an actor.",
    "audit_events_role": "Events of a role.",
    "audit_events_subject": "The history of a subject.",
    "audit_events_timestamp": "Events in a time range.",
    "audit_events_trace": "The history of a trace.",
    "audit_events_type": "Events by type.",
    "request_receipts_pkey": "Primary key.",
    "request_receipts_once": "One stored answer per caller, endpoint and key.",
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
        "Generated from the models by `make docs` and checked by a test. Every arrow is one "
        "transition and one event; the database refuses any other.",
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
            if e not in kinds and ("_app" in e.__module__ or ".gateway." in e.__module__)
        ),
        key=lambda e: (_kind(e), e.code),
    )
    table = ["| code | status | message |", "| --- | --- | --- |"]
    table += [f"| `{e.code}` | {_kind(e)} | {e.sentence} |" for e in mine]
    return (
        inspect.cleandoc(
            """
        # Errors

        Every error is `application/problem+json` (RFC 9457) with `type`, `title`, `status`,
        `detail`, a stable `code`, `trace_id` and, for invalid fields, `errors` with `field`,
        `detail` and `code`. Program against `code`; `detail` is for people and may change.

        ## Rules

        {table}

        A 409 caused by a state names it in `state`, and the possible transitions in `allowed`.

        ## Requests

        | code | status | when |
        | --- | --- | --- |
        | `invalid_request` | 400 | a value is invalid; `errors` names each field |
        | `malformed_json` | 400 | the body is not a JSON object |
        | `invalid_utf8` | 400 | the body is not UTF-8 |
        | `duplicate_name` | 400 | an object has a name twice |
        | `inexact_number` | 400 | a number that JSON readers would round |
        | `nul_character`, `lone_surrogate` | 400 | text that PostgreSQL or others can't store |
        | `too_many_values` | 400 | more than 10,000 values in one body |
        | `incomplete_body` | 400 | shorter than its Content-Length |
        | `too_deep` | 400 | nested deeper than 32 |
        | `bad_host` | 400 | the Host header is not one of this server's |
        | `malformed_request` | 400 | not HTTP/1.1 |
        | `not_authenticated` | 401 | no credentials |
        | `invalid_key`, `invalid_token`, `unknown_subject` | 401 | unknown credentials |
        | `csrf_failed` | 403 | a cookie without its CSRF token |
        | `forbidden` | 403 | the caller may not do this |
        | `not_found` | 404 | it does not exist, or the caller may not see it |
        | `method_not_allowed` | 405 | the URL does not support this method |
        | `not_acceptable` | 406 | only JSON is available |
        | `request_timeout` | 408 | headers took more than 10 s, or the body paused for 30 s |
        | `body_too_large` | 413 | larger than `MAX_BODY_BYTES` |
        | `unsupported_media_type` | 415 | only `application/json` is accepted |
        | `uri_too_long`, `headers_too_large` | 414, 431 | larger than the server reads |
        | `throttled` | 429 | a limit is exceeded; retry after `Retry-After` |
        | `internal_error` | 500 | a bug, logged with the trace id |
        | `not_implemented` | 501 | an unknown Transfer-Encoding |
        | `issuer_unavailable` | 503 | the issuer's keys can't be fetched; with `Retry-After` |
        | `database_unavailable` | 503 | with `Retry-After`; nothing acknowledged was lost |
        | `overloaded` | 503 | all database connections are busy; with `Retry-After` |
        """
        ).replace("{table}", "\n".join(table))
        + "\n"
    )


def database() -> str:
    """docs/database.md"""
    parts = [
        "# Database",
        "Generated from the live schema by `make docs` and checked by a test. The descriptions are "
        "COMMENTs in the database (`\\d+` in psql). PostgreSQL 15 or later.",
        "Rows of `agents`, `sessions`, `tasks` and `approvals` change only with their audit event; "
        "a deferred trigger checks it at commit. `audit_events` refuses UPDATE, DELETE and "
        "TRUNCATE.",
    ]
    for table, retention in TABLES.items():
        [(about,)] = rows("SELECT obj_description(%s::regclass)", table)
        columns = ["| column | type | null | meaning |", "| --- | --- | --- | --- |"]
        columns += [
            f"| {name} | {kind} | {'yes' if nullable else 'no'} | {comment} |"
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
    assert known in INDEXES, f"tests/project/documents.py does not say what {known} is for"
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

An approval references its task by id and payload digest together, so it can't outlive the payload
that was shown. An audit event names its subject by `subject_type` and `subject_id`, without a
foreign key, because it outlives the row."""
