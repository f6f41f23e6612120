"""Which file each function, view and trigger was made from.

What earlier migrations made under names that are gone is noted without a checksum, so that
``migrate`` drops it in the transaction that makes what replaces it.
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
UNION SELECT 'FUNCTION audit_judge', '' FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND proname = 'audit_judge'
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
