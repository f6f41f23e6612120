"""The database's own rules for approvals, and the view of what waits."""

from django.db import migrations

from audit_app.guard import freeze, guard

TRANSITIONS = [
    ">pending",
    "pending>approved",
    "pending>rejected",
    "pending>expired",
    "pending>withdrawn",
    "approved>",
    "rejected>",
    "expired>",
    "withdrawn>",
]
DIGEST_OF_THE_TASK = """
ALTER TABLE approvals ADD CONSTRAINT approvals_digest_is_the_tasks
    FOREIGN KEY (task_id, payload_digest) REFERENCES tasks (id, payload_digest)
"""
PENDING_APPROVALS = """
CREATE VIEW pending_approvals AS
    SELECT approval.id, approval.task_id, approval.approver_role, approval.created_at,
        task.description, task.from_role, task.to_role
    FROM approvals AS approval JOIN tasks AS task ON task.id = approval.task_id
    WHERE approval.status = 'pending' ORDER BY approval.created_at;
COMMENT ON VIEW pending_approvals IS 'Approvals that wait for a human, oldest first.';
"""


class Migration(migrations.Migration):
    dependencies = [("approvals_app", "0001_initial"), ("sessions_app", "0002_guards")]

    operations = [
        guard("approvals", "approval", TRANSITIONS),
        freeze(
            "approvals",
            ["id", "task_id", "approver_role", "payload_digest", "trace_id", "created_at"],
        ),
        migrations.RunSQL(
            DIGEST_OF_THE_TASK,
            "ALTER TABLE approvals DROP CONSTRAINT approvals_digest_is_the_tasks",
        ),
        migrations.RunSQL(PENDING_APPROVALS, "DROP VIEW pending_approvals"),
    ]
