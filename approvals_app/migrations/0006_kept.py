"""What was asked, said and reviewed stays with its task; who may not any more decides nothing."""

import datetime
from pathlib import Path

from django.db import migrations, models
from django.db.models import F, Q

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
RULES = (Path(__file__).parent / "0006_kept.sql").read_text()
BY_SOMEBODY = Q(
    Q(decision_at__lte=F("expires_at")) | Q(override__isnull=False),
    status__in=["approved", "rejected"],
    decided_by__isnull=False,
    decision_at__isnull=False,
)
BY_SILENCE = Q(
    status="approved",
    decided_by__isnull=True,
    decision_at__isnull=False,
    decision_at__gte=F("expires_at"),
    at_deadline__then="approve_without_a_human",
)
BY_NOBODY = Q(
    status__in=["pending", "expired", "withdrawn"],
    decided_by__isnull=True,
    decision_at__isnull=True,
)


class Migration(migrations.Migration):
    dependencies = [("approvals_app", "0005_quorum"), ("sessions_app", "0007_written")]

    operations = [
        migrations.RemoveConstraint("approval", "approvals_decided_by_someone_in_time"),
        migrations.AddConstraint(
            "approval",
            models.CheckConstraint(
                condition=BY_SOMEBODY | BY_SILENCE | BY_NOBODY,
                name="approvals_decided_by_someone_in_time",
            ),
        ),
        migrations.AddConstraint(
            "override",
            models.CheckConstraint(
                condition=Q(review_due_at__lte=F("created_at") + datetime.timedelta(days=90)),
                name="overrides_are_reviewed_soon",
            ),
        ),
        migrations.RunSQL("DROP TRIGGER approvals_freeze ON approvals"),
        freeze("approvals", FROZEN),
        migrations.RunSQL(RULES),
    ]
