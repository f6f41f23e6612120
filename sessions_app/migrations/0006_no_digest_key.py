"""Approvals no longer refer to a task's digest by a foreign key, so nobody needs its index."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0005_revised"), ("approvals_app", "0005_quorum")]

    operations = [migrations.RemoveConstraint(model_name="task", name="tasks_payload_digest")]
