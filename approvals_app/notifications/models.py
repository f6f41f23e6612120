"""People's notification preferences and channels, and the notices sent to them.

Notices follow from the audit trail and are not part of it; no decision depends on them.
"""

import uuid
from typing import Self

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models.functions import Now


class NoticeQuerySet(models.QuerySet["Notice"]):
    def open(self) -> Self:
        """Notices still to be sent."""
        return self.filter(sent_at=None, dropped_at=None, given_up_at=None)

    def due(self) -> Self:
        return self.open().filter(due_at__lte=Now())

    def filter_finished(self) -> Self:
        """Notices that were sent, dropped or given up."""
        return self.exclude(sent_at=None, dropped_at=None, given_up_at=None)


class NoticeKind(models.TextChoices):
    WORK = "work", "New requests for your groups"
    REMINDER = "reminder", "Reminders before a deadline"
    ESCALATION = "escalation", "Requests escalated to your groups"
    BREAK_GLASS = "break_glass", "Emergency approvals to review (break glass)"
    DECISION = "decision", "Outcomes of requests by you or your agents"
    UNDECIDABLE = "undecidable", "Requests that nobody can decide (administrators)"
    WEBHOOK = "webhook", "Webhooks that were paused or disabled (administrators)"
    PASSKEY = "passkey", "New and removed passkeys: yours, and all to administrators"
    TEST = "test", "Test"

    @classmethod
    def list_selectable(cls) -> "list[NoticeKind]":
        """The kinds that a person can switch off."""
        # Whoever took over an account must not switch off what tells of their passkey.
        return [kind for kind in cls if kind not in (cls.TEST, cls.PASSKEY)]


class NoticeSettings(models.Model):
    """One person's preferences. Without a row, the defaults apply: by e-mail, at once."""

    class Digest(models.TextChoices):
        AT_ONCE = "at_once", "Immediately"
        HOURLY = "hourly", "Hourly digest"
        DAILY = "daily", "Daily digest"

    person = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="notice_settings",
        db_comment="Whose they are.",
    )
    by_email = models.BooleanField(default=True, db_comment="Whether they are told by e-mail.")
    without = models.JSONField(default=list, db_comment="Of which kinds they are not told.")
    time_zone = models.CharField(
        max_length=64, default="UTC", db_comment="In which their hours are meant."
    )
    quiet_from = models.TimeField(null=True, db_comment="From when they are left alone.")
    quiet_until = models.TimeField(null=True, db_comment="Until when they are left alone.")
    urgent_at_once = models.BooleanField(
        default=True, db_comment="Whether what is due before they would be told is told at once."
    )
    digest = models.CharField(
        max_length=7, choices=Digest, default=Digest.AT_ONCE, db_comment="How much at a time."
    )
    digest_hour = models.PositiveSmallIntegerField(
        default=8, db_comment="At which hour, where it is once a day."
    )

    class Meta:
        db_table = "notice_settings"
        db_table_comment = "How people want to be told of what waits for them."
        default_permissions = ()
        constraints = (
            models.CheckConstraint(
                condition=models.Q(quiet_from__isnull=True, quiet_until__isnull=True)
                | models.Q(quiet_from__isnull=False, quiet_until__isnull=False),
                name="notice_settings_both_ends",
            ),
            models.CheckConstraint(
                condition=models.Q(digest_hour__lte=23), name="notice_settings_an_hour"
            ),
        )

    def __str__(self) -> str:
        return f"preferences of {self.person_id}"

    @classmethod
    def load(cls, person: User | None) -> "NoticeSettings":
        """The stored preferences of ``person``, or the defaults, which are not saved."""
        stored = cls.objects.filter(person=person).first() if person else None
        return stored or cls(person=person)


class NoticeChannel(models.Model):
    """A person's own channel beside e-mail, reached by an apprise URL."""

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, db_comment="Identity."
    )
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="notice_channels",
        db_comment="Whose it is; nobody else sees it.",
    )
    sealed = models.TextField(
        db_comment="Its apprise URL, encrypted with a key made of SECRET_KEY."
    )
    masked = models.CharField(max_length=300, db_comment="What is shown of it.")
    service = models.CharField(max_length=100, db_comment="What it leads to, as apprise says.")
    created_at = models.DateTimeField(auto_now_add=True, db_comment="When it was added.")

    class Meta:
        db_table = "notice_channels"
        db_table_comment = "Where people are told, beside their e-mail."
        default_permissions = ()
        ordering = ("created_at", "id")

    def __str__(self) -> str:
        return f"{self.service} of {self.person_id}"


class PushSubscription(models.Model):
    """A browser of a person that shows notifications (Push API, RFC 8030)."""

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, db_comment="Identity."
    )
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="push_subscriptions",
        db_comment="Whose it is; nobody else sees it.",
    )
    sealed = models.TextField(
        db_comment="The address at its push service and its keys, encrypted with a key made of "
        "SECRET_KEY."
    )
    endpoint_digest = models.CharField(
        max_length=64, db_comment="SHA-256 of that address, by which it is known again."
    )
    device = models.CharField(max_length=100, db_comment="Browser and system, as it names itself.")
    created_at = models.DateTimeField(auto_now_add=True, db_comment="When it was added.")

    class Meta:
        db_table = "push_subscriptions"
        db_table_comment = "Browsers that show people's notifications."
        default_permissions = ()
        ordering = ("created_at", "id")
        constraints = (
            models.UniqueConstraint(fields=["endpoint_digest"], name="push_subscriptions_once"),
        )

    def __str__(self) -> str:
        return f"{self.device} of {self.person_id}"


class Notice(models.Model):
    """One event to be sent to one destination: a person's e-mail or channel, or a role's channel.

    It has no text: delivery.py composes the message from the state at the time of sending.
    """

    id = models.BigAutoField(primary_key=True, db_comment="Identity.")
    event_id = models.UUIDField(db_comment="The event of the trail that is told.")
    place = models.CharField(
        max_length=300, db_comment="Where: email:PERSON, channel:ID, push:ID or shared:DIGEST:ROLE."
    )
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.CASCADE,
        related_name="notices",
        db_index=False,
        db_comment="Who is told; empty where a role shares the place.",
    )
    kind = models.CharField(max_length=11, choices=NoticeKind, db_comment="What kind of notice.")
    subject_id = models.UUIDField(
        db_comment="An approval; of a decision the task, of a webhook itself."
    )
    deadline_at = models.DateTimeField(null=True, db_comment="Until when something is to be done.")
    created_at = models.DateTimeField(auto_now_add=True, db_comment="When the event was read.")
    due_at = models.DateTimeField(db_comment="When it is to be sent, or tried again.")
    sent_at = models.DateTimeField(null=True, db_comment="When it was sent.")
    dropped_at = models.DateTimeField(
        null=True, db_comment="When there was nothing to tell, or no place to tell it."
    )
    given_up_at = models.DateTimeField(
        null=True, db_comment="When a day of trying to send it was over."
    )
    failures = models.PositiveSmallIntegerField(
        default=0, db_comment="How often it could not be sent."
    )
    failure = models.CharField(
        max_length=200, blank=True, db_comment="Why not, the last time; nothing secret."
    )

    objects = NoticeQuerySet.as_manager()

    class Meta:
        db_table = "notices"
        db_table_comment = "Who is, and was, told of which event, and where."
        default_permissions = ()
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=["event_id", "place"], name="notices_once"),
            models.CheckConstraint(
                condition=models.Q(kind__in=[kind.value for kind in NoticeKind]),
                name="notices_known_kind",
            ),
        )
        indexes = (
            models.Index(
                fields=["place", "due_at"],
                condition=models.Q(
                    sent_at__isnull=True, dropped_at__isnull=True, given_up_at__isnull=True
                ),
                name="notices_open",
            ),
            models.Index(fields=["person", "-id"], name="notices_of_one"),
            models.Index(fields=["created_at"], name="notices_age"),
        )

    def __str__(self) -> str:
        return f"{self.kind} to {self.place}"
