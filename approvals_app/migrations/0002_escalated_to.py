"""Purging looks for the approvals that refer to each one that it removes."""

from django.db import migrations, models

from audit_app.trail.indexing import build_index


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("approvals_app", "0001_schema")]

    operations = build_index(
        "approval",
        models.Index(
            fields=["escalated_to"],
            condition=models.Q(escalated_to__isnull=False),
            name="approvals_escalated_to",
        ),
    )
