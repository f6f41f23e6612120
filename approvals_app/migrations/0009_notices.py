"""Who wants to be told of what, where and when; and who was told."""

import uuid

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("approvals_app", "0008_care"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="NoticeChannel",
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
                (
                    "sealed",
                    models.TextField(
                        db_comment="Its apprise URL, encrypted with a key made of SECRET_KEY."
                    ),
                ),
                ("masked", models.CharField(db_comment="What is shown of it.", max_length=300)),
                (
                    "service",
                    models.CharField(
                        db_comment="What it leads to, as apprise says.", max_length=100
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(auto_now_add=True, db_comment="When it was added."),
                ),
                (
                    "person",
                    models.ForeignKey(
                        db_comment="Whose it is; nobody else sees it.",
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="notice_channels",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "notice_channels",
                "db_table_comment": "Where people are told, beside their e-mail.",
                "ordering": ("created_at", "id"),
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="NoticeSettings",
            fields=[
                (
                    "person",
                    models.OneToOneField(
                        db_comment="Whose they are.",
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="notice_settings",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "by_email",
                    models.BooleanField(
                        db_comment="Whether they are told by e-mail.", default=True
                    ),
                ),
                (
                    "without",
                    models.JSONField(db_comment="Of which kinds they are not told.", default=list),
                ),
                (
                    "time_zone",
                    models.CharField(
                        db_comment="In which their hours are meant.", default="UTC", max_length=64
                    ),
                ),
                (
                    "quiet_from",
                    models.TimeField(db_comment="From when they are left alone.", null=True),
                ),
                (
                    "quiet_until",
                    models.TimeField(db_comment="Until when they are left alone.", null=True),
                ),
                (
                    "urgent_at_once",
                    models.BooleanField(
                        db_comment="Whether what is due before they would be told is told at once.",
                        default=True,
                    ),
                ),
                (
                    "digest",
                    models.CharField(
                        choices=[
                            ("at_once", "At once"),
                            ("hourly", "Every hour, together"),
                            ("daily", "Once a day, together"),
                        ],
                        db_comment="How much at a time.",
                        default="at_once",
                        max_length=7,
                    ),
                ),
                (
                    "digest_hour",
                    models.PositiveSmallIntegerField(
                        db_comment="At which hour, where it is once a day.", default=8
                    ),
                ),
            ],
            options={
                "db_table": "notice_settings",
                "db_table_comment": "How people want to be told of what waits for them.",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("quiet_from__isnull", True), ("quiet_until__isnull", True)),
                            models.Q(("quiet_from__isnull", False), ("quiet_until__isnull", False)),
                            _connector="OR",
                        ),
                        name="notice_settings_both_ends",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("digest_hour__lte", 23)), name="notice_settings_an_hour"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Notice",
            fields=[
                (
                    "id",
                    models.BigAutoField(db_comment="Identity.", primary_key=True, serialize=False),
                ),
                ("event_id", models.UUIDField(db_comment="The event of the trail that is told.")),
                (
                    "place",
                    models.CharField(
                        db_comment="Where: email:PERSON, channel:ID or shared:DIGEST:ROLE.",
                        max_length=300,
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("work", "New decisions for your roles"),
                            ("reminder", "Reminders before a deadline"),
                            ("escalation", "Decisions that others did not make in time"),
                            ("break_glass", "Break glass: what was approved alone, to be reviewed"),
                            (
                                "decision",
                                "What became of what you, or an agent of yours, asked for",
                            ),
                            ("webhook", "Webhooks that were paused or disabled (administrators)"),
                            ("test", "A test of yours"),
                        ],
                        db_comment="What kind of notice.",
                        max_length=11,
                    ),
                ),
                (
                    "subject_id",
                    models.UUIDField(
                        db_comment="An approval; of a decision the task, of a webhook itself."
                    ),
                ),
                (
                    "deadline_at",
                    models.DateTimeField(
                        db_comment="Until when something is to be done.", null=True
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(auto_now_add=True, db_comment="When the event was read."),
                ),
                (
                    "due_at",
                    models.DateTimeField(db_comment="When it is to be sent, or tried again."),
                ),
                ("sent_at", models.DateTimeField(db_comment="When it was sent.", null=True)),
                (
                    "dropped_at",
                    models.DateTimeField(
                        db_comment="When there was nothing to tell, or no place to tell it.",
                        null=True,
                    ),
                ),
                (
                    "given_up_at",
                    models.DateTimeField(
                        db_comment="When a day of trying to send it was over.", null=True
                    ),
                ),
                (
                    "failures",
                    models.PositiveSmallIntegerField(
                        db_comment="How often it could not be sent.", default=0
                    ),
                ),
                (
                    "failure",
                    models.CharField(
                        blank=True,
                        db_comment="Why not, the last time; nothing secret.",
                        max_length=200,
                    ),
                ),
                (
                    "person",
                    models.ForeignKey(
                        db_comment="Who is told; empty where a role shares the place.",
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="notices",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "notices",
                "db_table_comment": "Who is, and was, told of which event, and where.",
                "ordering": ("-id",),
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        condition=models.Q(
                            ("dropped_at__isnull", True),
                            ("given_up_at__isnull", True),
                            ("sent_at__isnull", True),
                        ),
                        fields=["place", "due_at"],
                        name="notices_open",
                    ),
                    models.Index(fields=["person", "-id"], name="notices_of_one"),
                    models.Index(fields=["created_at"], name="notices_age"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("event_id", "place"), name="notices_once"),
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "kind__in",
                                [
                                    "work",
                                    "reminder",
                                    "escalation",
                                    "break_glass",
                                    "decision",
                                    "webhook",
                                    "test",
                                ],
                            )
                        ),
                        name="notices_known_kind",
                    ),
                ],
            },
        ),
    ]
