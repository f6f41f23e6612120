from django.db import migrations


class Migration(migrations.Migration):
    """Apart, and outside of a transaction: the trail is written while the index is built."""

    atomic = False

    dependencies = [
        ("audit_app", "0005_tail"),
    ]

    operations = [
        # What an interrupted try left behind is no index that anything could use.
        migrations.RunSQL(
            "DROP INDEX CONCURRENTLY IF EXISTS audit_events_tail", migrations.RunSQL.noop
        ),
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY audit_events_tail ON audit_events (xid, position)",
            "DROP INDEX CONCURRENTLY IF EXISTS audit_events_tail",
        ),
    ]
