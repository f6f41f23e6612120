"""The payload of a finished task can be erased; its digest stays.

The digest is generated from the payload or, once that is erased, kept beside it. PostgreSQL before
17 can't give a generated column another expression, so each is dropped and made anew, which rewrites
its table once.
"""

from django.db import migrations, models

RULES = """
ALTER TABLE tasks DROP COLUMN payload_digest, ADD COLUMN payload_digest varchar(64) NOT NULL
    GENERATED ALWAYS AS (coalesce(erasure ->> 'payload_digest', audit_sha256(payload))) STORED;
COMMENT ON COLUMN tasks.payload_digest IS
    'SHA-256 of payload: what a human approves. Stays when the payload is erased.';
ALTER TABLE task_revisions DROP COLUMN payload_digest, ADD COLUMN payload_digest varchar(64) NOT NULL
    GENERATED ALWAYS AS (coalesce(erased_digest, audit_sha256(payload))) STORED;
COMMENT ON COLUMN task_revisions.payload_digest IS
    'SHA-256 of payload. Stays when the payload is erased.';
-- What is left says to whom the task went and of what kind it was: columns that never change.
ALTER TABLE tasks ADD CONSTRAINT tasks_erased_hold_nothing CHECK (
    CASE WHEN erasure IS NULL THEN true ELSE
        description = '' AND data = '{}' AND context = '{}' AND identifiers = '{}'
        AND payload::jsonb = jsonb_build_object('context', '{}'::jsonb, 'data', '{}'::jsonb,
            'description', '', 'from_role', from_role, 'task_type', task_type, 'to_role', to_role)
    END);
"""


def _digest(column: str, erased: str, comment: str) -> models.GeneratedField:
    return models.GeneratedField(
        db_comment=comment,
        db_persist=True,
        expression=models.Func(
            models.F(column),
            models.F("payload"),
            template=f"coalesce({erased}, audit_sha256(payload))",
        ),
        output_field=models.CharField(max_length=64),
    )


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0003_task_identifiers")]

    operations = [
        migrations.AlterModelOptions(
            name="task",
            options={
                "ordering": ("-created_at", "-id"),
                "permissions": (("erase_payload", "Can erase the payload of a finished task"),),
            },
        ),
        migrations.AddField(
            model_name="task",
            name="erasure",
            field=models.JSONField(
                null=True,
                db_comment="Who erased the payload, why, and its SHA-256; null while it is there.",
            ),
        ),
        migrations.AddField(
            model_name="taskrevision",
            name="erased_digest",
            field=models.CharField(
                max_length=64, null=True, db_comment="SHA-256 of the payload that was erased."
            ),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(RULES, migrations.RunSQL.noop)],
            state_operations=[
                migrations.AlterField(
                    model_name="task",
                    name="payload_digest",
                    field=_digest(
                        "erasure",
                        "erasure ->> 'payload_digest'",
                        "SHA-256 of payload: what a human approves. Stays when the payload is "
                        "erased.",
                    ),
                ),
                migrations.AlterField(
                    model_name="taskrevision",
                    name="payload_digest",
                    field=_digest(
                        "erased_digest",
                        "erased_digest",
                        "SHA-256 of payload. Stays when the payload is erased.",
                    ),
                ),
            ],
        ),
    ]
