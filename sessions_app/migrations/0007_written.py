"""What a revision may change, whose it is, and that a payload is read in one way."""

from pathlib import Path

from django.db import migrations

RULES = (Path(__file__).parent / "0007_written.sql").read_text()


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0006_no_digest_key")]

    operations = [migrations.RunSQL(RULES)]
