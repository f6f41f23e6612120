from pathlib import Path

from django.db import migrations

# Irreversible: what it drops let a backup fail.
JUDGE = (Path(__file__).parent / "0003_judge.sql").read_text()


class Migration(migrations.Migration):
    dependencies = [("audit_app", "0002_command_runs")]

    operations = [migrations.RunSQL(JUDGE)]
