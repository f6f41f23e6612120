"""How much care a policy wants of a yes."""

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
    dependencies = [("approvals_app", "0007_views")]

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
        migrations.RunSQL("DROP TRIGGER approvals_freeze ON approvals"),
        freeze("approvals", [*FROZEN, "risk", "look_for", "type_out"]),
    ]
