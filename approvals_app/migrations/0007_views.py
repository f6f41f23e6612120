"""What people keep of how they look at their inbox, who looks at what, and finding by words."""

import uuid
from pathlib import Path

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

SEARCH = (Path(__file__).parent / "0007_views.sql").read_text()


class Migration(migrations.Migration):
    dependencies = [
        ("approvals_app", "0006_kept"),
        ("sessions_app", "0007_written"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="SavedView",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_comment="Identity.",
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(db_comment="What they call it.", max_length=60)),
                (
                    "query",
                    models.CharField(
                        blank=True,
                        db_comment="The filters, as in the page's address.",
                        max_length=2000,
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_comment="Whose it is; nobody else sees it.",
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="saved_views",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "saved_views",
                "db_table_comment": "Names that people gave to filters of their inbox.",
                "ordering": ("name",),
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("user", "name"), name="saved_views_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Viewer",
            fields=[
                (
                    "id",
                    models.BigAutoField(db_comment="Identity.", primary_key=True, serialize=False),
                ),
                (
                    "seen_at",
                    models.DateTimeField(db_comment="When their page last said so."),
                ),
                (
                    "first_at",
                    models.DateTimeField(db_comment="Since when, without a break of ten minutes."),
                ),
                (
                    "approval",
                    models.ForeignKey(
                        db_comment="What they look at; it may be gone.",
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="viewers",
                        to="approvals_app.approval",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_comment="Who looks.",
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "viewers",
                "db_table_comment": (
                    "Who looks at which approval now; unlogged, since it is soon over."
                ),
                "default_permissions": (),
                "indexes": [models.Index(fields=["seen_at"], name="viewers_seen_at")],
                "constraints": [
                    models.UniqueConstraint(fields=("approval", "user"), name="viewers_once")
                ],
            },
        ),
        migrations.RunSQL(SEARCH),
    ]
