"""A role's approvals, newest first; agents are not removed, so nobody looks for what one asked."""

import django.db.models.deletion
from django.db import migrations, models

from audit_app.indexing import built, vacuumed_soon


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("approvals_app", "0009_notices"), ("sessions_app", "0008_lists")]

    operations = [
        *built(
            "approval",
            models.Index(fields=["approver_role", "-created_at"], name="approvals_role"),
        ),
        migrations.AlterField(
            "approval",
            "requested_by",
            models.ForeignKey(
                to="sessions_app.agent",
                null=True,
                related_name="requested_approvals",
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                db_comment="The agent that asked for one more human; empty where policy asked.",
            ),
        ),
        *vacuumed_soon("approvals"),
    ]
