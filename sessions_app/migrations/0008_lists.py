"""Each list has its newest rows at hand, whatever it is filtered by; indexes that say again what
another one says, and those of references to agents, which nobody removes, are gone."""

import django.db.models.deletion
from django.db import migrations, models

from audit_app.indexing import built, dropped, vacuumed_soon

ONCE_PER_KEY = """
CREATE UNIQUE INDEX CONCURRENTLY tasks_once_per_key_and_caller
    ON tasks (idempotency_key, agent_id)
"""
SWAP = """
ALTER TABLE tasks DROP CONSTRAINT tasks_once_per_key,
    ADD CONSTRAINT tasks_once_per_key UNIQUE USING INDEX tasks_once_per_key_and_caller
"""
SWAP_BACK = """
ALTER TABLE tasks DROP CONSTRAINT tasks_once_per_key,
    ADD CONSTRAINT tasks_once_per_key UNIQUE (agent_id, idempotency_key)
"""


def reference(name: str, **options: object) -> models.ForeignKey:
    return models.ForeignKey(
        to="sessions_app.agent",
        related_name=name,
        db_index=False,
        on_delete=django.db.models.deletion.PROTECT,
        **options,
    )


def newest(model: str, name: str, *fields: str) -> list[migrations.operations.base.Operation]:
    return built(model, models.Index(fields=[*fields, "-created_at"], name=name))


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("sessions_app", "0007_written")]

    operations = [
        *newest("agentsession", "sessions_agent_status", "agent", "status"),
        *newest("agentsession", "sessions_role", "role"),
        *newest("task", "tasks_to_role", "to_role"),
        *newest("task", "tasks_from_role", "from_role"),
        *newest("task", "tasks_status", "status"),
        *newest("task", "tasks_type", "task_type"),
        migrations.AlterField(
            "agentsession", "agent", reference("sessions", db_comment="Whose session it is.")
        ),
        migrations.AlterField("task", "agent", reference("tasks", db_comment="Who routed it.")),
        migrations.AlterField(
            "task",
            "claimed_by",
            reference("claims", null=True, db_comment="The agent that executes it."),
        ),
        # The key first: then it is found without its caller, too, by one index instead of two.
        migrations.RunSQL(
            "DROP INDEX CONCURRENTLY IF EXISTS tasks_once_per_key_and_caller",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(ONCE_PER_KEY, migrations.RunSQL.noop),
        migrations.RunSQL(
            SWAP,
            SWAP_BACK,
            state_operations=[
                migrations.RemoveConstraint("task", "tasks_once_per_key"),
                migrations.AddConstraint(
                    "task",
                    models.UniqueConstraint(
                        fields=["idempotency_key", "agent"], name="tasks_once_per_key"
                    ),
                ),
            ],
        ),
        dropped("task", "tasks_idempotency_key"),
        *vacuumed_soon("sessions", "tasks"),
    ]
