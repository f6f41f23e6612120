"""The database's own rules for agents, sessions and tasks, and the view of active sessions."""

from django.db import migrations

from audit_app.guard import freeze, guard

SESSION_TRANSITIONS = [
    ">pending",
    "pending>active",
    "pending>expired",
    "active>completed",
    "active>failed",
    "active>expired",
    "completed>",
    "failed>",
    "expired>",
]
TASK_TRANSITIONS = [
    ">awaiting_approval",
    ">approved",
    "awaiting_approval>approved",
    "awaiting_approval>rejected",
    "awaiting_approval>expired",
    "awaiting_approval>cancelled",
    "approved>claimed",
    "approved>cancelled",
    "approved>expired",
    "claimed>completed",
    "claimed>failed",
    "claimed>approved",
    "claimed>cancelled",
    "rejected>",
    "expired>",
    "cancelled>",
    "completed>",
    "failed>",
]
PAYLOAD_IS_ITS_COLUMNS = """
ALTER TABLE tasks ADD CONSTRAINT tasks_payload_is_its_columns CHECK (
    payload::jsonb = jsonb_build_object('context', context, 'data', data,
        'description', description, 'from_role', from_role, 'task_type', task_type,
        'to_role', to_role)
)
"""
ACTIVE_SESSIONS = """
CREATE VIEW active_sessions AS
    SELECT id, role, task_id, created_at, updated_at FROM sessions
    WHERE status = 'active' ORDER BY created_at DESC;
COMMENT ON VIEW active_sessions IS 'Sessions at work, newest first.';
"""


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0001_initial"), ("audit_app", "0001_initial")]

    operations = [
        guard("agents", "agent", [">active", "active>revoked"]),
        guard("sessions", "session", SESSION_TRANSITIONS),
        freeze("sessions", ["id", "agent_id", "role", "trace_id", "created_at"]),
        guard("tasks", "task", TASK_TRANSITIONS),
        freeze(
            "tasks",
            [
                "id",
                "agent_id",
                "session_id",
                "trace_id",
                "idempotency_key",
                "created_at",
                "payload",
            ],
        ),
        migrations.RunSQL(
            PAYLOAD_IS_ITS_COLUMNS,
            "ALTER TABLE tasks DROP CONSTRAINT tasks_payload_is_its_columns",
        ),
        migrations.RunSQL(ACTIVE_SESSIONS, "DROP VIEW active_sessions"),
    ]
