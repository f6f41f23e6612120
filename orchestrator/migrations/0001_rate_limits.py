from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="RateLimit",
            fields=[
                (
                    "caller",
                    models.TextField(
                        db_comment="Who is limited: agent:id, human:id or address:…",
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "window",
                    models.BigIntegerField(
                        db_comment="The minute that is counted, since the epoch."
                    ),
                ),
                (
                    "used",
                    models.BigIntegerField(
                        db_comment="Requests that were asked for in that minute."
                    ),
                ),
            ],
            options={
                "db_table": "rate_limits",
                "db_table_comment": (
                    "Throttling, shared by all processes; unlogged, since minutes pass."
                ),
                "default_permissions": (),
                "indexes": [models.Index(fields=["window"], name="rate_limits_window")],
            },
        ),
        # A crash may empty it: then a minute begins anew.
        migrations.RunSQL("ALTER TABLE rate_limits SET UNLOGGED", migrations.RunSQL.noop),
    ]
