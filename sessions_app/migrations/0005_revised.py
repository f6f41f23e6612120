"""A task's payload changes by a revision alone, and what humans approved is executed once."""

from pathlib import Path

from django.db import migrations

from audit_app.guard import freeze, judge

TASKS = [
    "task.routed:>awaiting_approval",
    "task.routed:>approved",
    "task.routed:>rejected",
    "task.revised:>",
    "task.approved:awaiting_approval>approved",
    "task.rejected:awaiting_approval>rejected",
    "task.expired:awaiting_approval>expired",
    "task.expired:approved>expired",
    "task.cancelled:awaiting_approval>cancelled",
    "task.cancelled:approved>cancelled",
    "task.cancelled:claimed>cancelled",
    "task.claimed:approved>claimed",
    "task.released:claimed>approved",
    "task.completed:claimed>completed",
    "task.failed:claimed>failed",
    "task.purged:rejected>",
    "task.purged:expired>",
    "task.purged:cancelled>",
    "task.purged:completed>",
    "task.purged:failed>",
]
FROZEN = [
    "id",
    "agent_id",
    "session_id",
    "task_type",
    "from_role",
    "to_role",
    "on_behalf_of",
    "trace_id",
    "idempotency_key",
    "created_at",
]
RULES = (Path(__file__).parent / "0005_revised.sql").read_text()


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0004_revisions"), ("audit_app", "0004_policies")]

    operations = [
        judge("tasks", "task", TASKS),
        migrations.RunSQL("DROP TRIGGER tasks_freeze ON tasks"),
        freeze("tasks", FROZEN),
        migrations.RunSQL(RULES),
    ]
