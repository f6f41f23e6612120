from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('audit_app', '0004_events_of_tasks'),
        ('procrastinate', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='delivery',
            name='leased_until',
            field=models.DateTimeField(db_comment='Until when a worker has it for itself, to send it.', null=True),
        ),
        migrations.AddField(
            model_name='delivery',
            name='replayed',
            field=models.BooleanField(db_comment='Whether live deliveries go before it.', db_default=False, default=False),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('status', 'waiting')), fields=['webhook', 'replayed', 'id'], name='webhook_deliveries_next'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('status', 'waiting')), fields=['webhook', 'subject_id'], name='webhook_deliveries_subject'),
        ),
        # Until now each delivery had a job; the rows themselves are the queue from here on.
        migrations.RunSQL(
            "DELETE FROM procrastinate_jobs WHERE task_name = 'deliver_webhook'",
            migrations.RunSQL.noop,
        ),
    ]
