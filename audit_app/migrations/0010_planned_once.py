"""What an event's columns and the tail's end are made by is planned once a connection."""

from pathlib import Path

from django.db import migrations

FUNCTIONS = Path(__file__).with_suffix(".sql").read_text()


class Migration(migrations.Migration):
    dependencies = [("audit_app", "0009_answered")]

    operations = [migrations.RunSQL(FUNCTIONS, migrations.RunSQL.noop)]
