"""PostgreSQL says so when an agent or a key changes."""

from pathlib import Path

from django.db import migrations

TOLD = (Path(__file__).parent / "0009_identities.sql").read_text()
UNTOLD = """
DROP TRIGGER identities_changed ON agent_keys;
DROP TRIGGER identities_changed ON agents;
DROP FUNCTION identities_changed();
"""


class Migration(migrations.Migration):
    dependencies = [("sessions_app", "0008_lists")]

    operations = [migrations.RunSQL(TOLD, UNTOLD)]
