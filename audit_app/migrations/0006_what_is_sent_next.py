import django.db.models.functions.comparison
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('audit_app', '0005_deliveries_as_a_queue'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='delivery',
            name='webhook_deliveries_next',
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(models.F('webhook'), models.F('replayed'), django.db.models.functions.comparison.Coalesce('next_attempt_at', 'created_at'), models.F('id'), condition=models.Q(('status', 'waiting')), name='webhook_deliveries_next'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('leased_until__isnull', False), ('status', 'waiting')), fields=['leased_until'], name='webhook_deliveries_leased'),
        ),
    ]
