"""Which file each function, view and trigger was made from.

Objects of version 0.1.0 that have no file any more are recorded without a checksum: ``migrate``
drops them in the transaction that applies the files.
"""

import django.db.models.functions.datetime
from django.db import migrations, models

RENAMED = """
INSERT INTO schema_objects (name, checksum)
SELECT format('TRIGGER %I ON %I', tgname, relname), ''
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace = 'public'::regnamespace
  AND tgname IN (
      relname || '_guard_insert_delete', relname || '_guard_update', relname || '_freeze')
UNION SELECT format('FUNCTION %I', proname), '' FROM pg_proc
WHERE pronamespace = 'public'::regnamespace
  AND proname IN ('audit_judge', 'approvals_excluded', 'approvals_member')
"""


class Migration(migrations.Migration):
    dependencies = [("audit_app", "0001_schema")]

    operations = [
        migrations.CreateModel(
            name="SchemaObject",
            fields=[
                (
                    "name",
                    models.TextField(
                        db_comment=("What it is, as DROP names it: TRIGGER tasks_quorum ON tasks."),
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "checksum",
                    models.CharField(
                        db_comment="SHA-256 of its file; empty for what a migration made.",
                        max_length=64,
                    ),
                ),
                (
                    "applied_at",
                    models.DateTimeField(
                        db_comment="When the file was last run.",
                        db_default=django.db.models.functions.datetime.Now(),
                    ),
                ),
            ],
            options={
                "db_table": "schema_objects",
                "db_table_comment": (
                    "Which file under */sql each function, view and trigger was made from."
                ),
                "default_permissions": (),
            },
        ),
        migrations.RunSQL(RENAMED, migrations.RunSQL.noop),
    ]
