"""A release keeps the claimant: only what the columns mean changes.

Django would alter the columns' type along with their comments, which triggers on them forbid.
"""

import django.db.models.deletion
from django.db import migrations, models

COMMENTS = """
COMMENT ON COLUMN tasks.claimed_by_id IS
    'The agent that claimed it last; it may report until another one claims.';
COMMENT ON COLUMN tasks.claimed_session_id IS 'The session in which it was claimed last.';
"""


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0001_schema")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(COMMENTS, migrations.RunSQL.noop)],
            state_operations=[
                migrations.AlterField(
                    model_name="task",
                    name="claimed_by",
                    field=models.ForeignKey(
                        db_comment=(
                            "The agent that claimed it last; it may report until another one "
                            "claims."
                        ),
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="claims",
                        to="sessions_app.agent",
                    ),
                ),
                migrations.AlterField(
                    model_name="task",
                    name="claimed_session",
                    field=models.ForeignKey(
                        db_comment="The session in which it was claimed last.",
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="claims",
                        to="sessions_app.agentsession",
                    ),
                ),
            ],
        )
    ]
