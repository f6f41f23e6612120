from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("audit_app", "0002_schema_objects"),
    ]

    # Both keep their tables, so nothing changes in the database.
    operations = [
        migrations.RenameModel("Era", "Epoch"),
        migrations.RenameModel("TailReader", "ConsumerOffset"),
    ]
