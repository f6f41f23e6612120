"""How much care a policy wants of a yes, and who has looked at what."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from audit_app.guard import freeze

FROZEN = [
    "id",
    "task_id",
    "approver_role",
    "needed",
    "deny_threshold",
    "revision",
    "reason",
    "payload_digest",
    "expires_at",
    "at_deadline",
    "reminders",
    "valid_for",
    "override_id",
    "requested_by_id",
    "trace_id",
    "created_at",
]


class Migration(migrations.Migration):
    dependencies = [
        ("approvals_app", "0007_views"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            "approval",
            "look_for",
            models.DurationField(
                db_comment="How long its page must have been open before a yes.", null=True
            ),
        ),
        migrations.AddField(
            "approval",
            "risk",
            models.CharField(
                choices=[("high", "High"), ("normal", "Normal"), ("low", "Low")],
                db_comment="high, normal or low.",
                default="normal",
                max_length=6,
            ),
        ),
        migrations.AddField(
            "approval",
            "type_out",
            models.TextField(
                blank=True,
                db_comment="The member of the payload whose value a yes types out, as a path.",
            ),
        ),
        migrations.CreateModel(
            "Look",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "first_at",
                    models.DateTimeField(db_comment="Since when, without a break of an hour."),
                ),
                (
                    "last_at",
                    models.DateTimeField(db_comment="When the page was last known to be open."),
                ),
                (
                    "approval",
                    models.ForeignKey(
                        db_comment="What is looked at.",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="looks",
                        to="approvals_app.approval",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_comment="Who looks.",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="looks",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "looks",
                "db_table_comment": "Who has looked at which approval.",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("approval", "user"), name="looks_one_each")
                ],
            },
        ),
        migrations.RunSQL("DROP TRIGGER approvals_freeze ON approvals"),
        freeze("approvals", [*FROZEN, "risk", "look_for", "type_out"]),
    ]
