from pathlib import Path

import django.db.models.functions.datetime
from django.db import migrations, models

import audit_app.models

FUNCTIONS = (Path(__file__).parent / "0005_tail.sql").read_text()


class Migration(migrations.Migration):
    dependencies = [
        ("audit_app", "0004_policies"),
    ]

    operations = [
        migrations.RunSQL(FUNCTIONS, "DROP FUNCTION audit_settled_before"),
        # The column is there since 0001; now Django knows of it.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddField(
                    model_name="event",
                    name="xid",
                    field=audit_app.models.TransactionNumber(
                        db_comment="The transaction that wrote it: what the guard looks for.",
                        default=0,
                        editable=False,
                    ),
                    preserve_default=False,
                ),
            ],
        ),
        migrations.CreateModel(
            name="Era",
            fields=[
                (
                    "number",
                    models.PositiveIntegerField(
                        db_comment="1 for the second era.", primary_key=True, serialize=False
                    ),
                ),
                (
                    "after_position",
                    models.BigIntegerField(
                        db_comment="The last position of the era before: where the "
                        "restored events end."
                    ),
                ),
                (
                    "began_at",
                    models.DateTimeField(
                        db_comment="When it was noticed.",
                        db_default=django.db.models.functions.datetime.Now(),
                    ),
                ),
            ],
            options={
                "db_table": "trail_eras",
                "db_table_comment": "Where the trail was restored into a younger cluster.",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="TailReader",
            fields=[
                (
                    "name",
                    models.TextField(db_comment="The relay.", primary_key=True, serialize=False),
                ),
                (
                    "cursor",
                    models.TextField(db_comment="Behind the last event that it told."),
                ),
            ],
            options={
                "db_table": "tail_readers",
                "db_table_comment": "How far each relay has read the trail.",
                "default_permissions": (),
            },
        ),
    ]
