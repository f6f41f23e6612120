"""Who may decide is planned once a connection."""

from pathlib import Path

from django.db import migrations

FUNCTIONS = Path(__file__).with_suffix(".sql").read_text()


class Migration(migrations.Migration):
    dependencies = [("approvals_app", "0010_lists")]

    operations = [migrations.RunSQL(FUNCTIONS, migrations.RunSQL.noop)]
